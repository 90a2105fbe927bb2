"""Experiments in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg.types.json import Jsonb

from orchestrator.errors import NotFound
from orchestrator.store.connection import Database, Table
from orchestrator.store.queries import blocks
from orchestrator.store.records import ExperimentRow


class Experiments(Table):
    file = "experiments"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._insert_runs = blocks("runs")["insert"]

    def create(
        self,
        *,
        name: str,
        spec: dict[str, Any],
        files: dict[str, str],
        runs: Sequence[tuple[str, int, int]],
        dispatch_seconds: float,
        **values: Any,
    ) -> tuple[ExperimentRow, list[str]]:
        """Record the experiment and its runs, (variant, repeat, seed) each, in one transaction; returns the run ids.

        `files` holds the hash of each variant's bundle.

        The handle is the name, or `name.N` for the Nth experiment of that name.
        """
        with self._database.transaction() as connection:
            self._rows(connection, "lock_name", {"name": name})
            used = self._rows(connection, "handles", {"name": name})[0]["used"]
            handle = name if used == 0 else f"{name}.{used + 1}"
            fields = {"name": name, "handle": handle, "spec": Jsonb(spec), "files": Jsonb(files), **values}
            inserted = self._row(connection, "insert", fields)
            if inserted is None:
                raise NotFound("The baseline was removed meanwhile: take a new one with `forkyard baseline create`.")
            row = ExperimentRow.of(inserted)
            ids = [f"{handle}/{variant}#{repeat}" for variant, repeat, _ in runs]
            connection.execute(
                self._insert_runs,
                {
                    "experiment_id": row.id,
                    "project_id": row.project_id,
                    "ids": ids,
                    "variants": [variant for variant, _, _ in runs],
                    "repeats": [repeat for _, repeat, _ in runs],
                    "seeds": [seed for _, _, seed in runs],
                    "dispatch_seconds": dispatch_seconds,
                },
            )
        return row, ids

    def get(self, experiment_id: int) -> ExperimentRow:
        row = self._one("get", experiment_id=experiment_id)
        if row is None:
            raise NotFound(f"There is no experiment with id {experiment_id}.")
        return ExperimentRow.of(row)

    def by_handle(self, handle: str) -> ExperimentRow:
        row = self._one("by_handle", handle=handle)
        if row is None:
            raise NotFound(f"There is no experiment {handle!r}: `forkyard status` lists them.")
        return ExperimentRow.of(row)

    def recent(self, *, limit: int) -> list[dict[str, Any]]:
        return self._all("recent", limit=limit)

    def claim_summary(self, experiment_id: int) -> ExperimentRow | None:
        """Take the summary for a minute; None if runs are still live, it is done, or somebody else has it."""
        row = self._one("claim_summary", experiment_id=experiment_id)
        return None if row is None else ExperimentRow.of(row)

    def release_summary(self, experiment_id: int) -> None:
        self._all("release_summary", experiment_id=experiment_id)

    def choose(self, experiment_id: int, *, best_run: str, summary: str) -> bool:
        """Write down which run is the best, once."""
        return self._one("choose", experiment_id=experiment_id, best_run=best_run, summary=summary) is not None

    def finish(self, experiment_id: int, *, summary: str | None) -> bool:
        return self._one("finish", experiment_id=experiment_id, summary=summary) is not None

    def request_cancel(self, experiment_id: int) -> bool:
        return self._one("request_cancel", experiment_id=experiment_id) is not None

    def unsummarised(self, *, limit: int) -> list[int]:
        return [row["id"] for row in self._all("unsummarised", limit=limit)]
