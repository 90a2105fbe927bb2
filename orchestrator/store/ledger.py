"""The ledger: a run's migrations and every attempt to apply them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.store.connection import Table
from orchestrator.store.records import Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    number: int
    fixer: str
    sql: str
    sqlstate: str | None
    message: str | None
    error_position: int | None
    duration_seconds: float
    tokens: int | None
    cost: float | None


class Ledger(Table):
    file = "migrations"

    def clear(self, run_id: str) -> None:
        """Forget the ledger, because the run starts again on a fresh fork."""
        self._all("clear", run_id=run_id)

    def record(
        self,
        run_id: str,
        position: int,
        *,
        name: str,
        original: str,
        final: str | None,
        applied: bool,
        statements: int,
        duration_seconds: float,
        attempts: Sequence[AttemptRow],
        claim: Claim | None = None,
    ) -> None:
        """Write one migration with its attempts, replacing an earlier record of that position.

        Here as below, with a claim: raises Fenced if a newer epoch owns the run.
        """
        values: dict[str, Any] = {
            "run_id": run_id,
            "position": position,
            "name": name,
            "original": original,
            "final": final,
            "applied": applied,
            "statements": statements,
            "duration_seconds": duration_seconds,
        }
        with self._fenced_transaction(claim) as connection:
            self._rows(connection, "insert", values)
            self._rows(connection, "clear_attempts", values)
            for attempt in attempts:
                fields = {name: getattr(attempt, name) for name in AttemptRow.__slots__}
                self._rows(connection, "insert_attempt", {"run_id": run_id, "position": position, **fields})

    def about_to_commit(self, claim: Claim, position: int, *, transaction_id: str, ran: str) -> None:
        """Note the fork's transaction that is about to commit this text, so that a crash in between can be told."""
        values = {"run_id": claim.run.id, "position": position, "transaction_id": transaction_id, "ran": ran}
        with self._fenced_transaction(claim) as connection:
            self._rows(connection, "about_to_commit", values)

    def was_committed(self, claim: Claim, position: int) -> None:
        """The noted transaction turned out to be committed: the text that it ran is applied."""
        with self._fenced_transaction(claim) as connection:
            self._rows(connection, "was_committed", {"run_id": claim.run.id, "position": position})

    def of_run(self, run_id: str) -> list[dict[str, Any]]:
        """The migrations in order, each with its `attempts`."""
        attempts = self._all("attempts_of_run", run_id=run_id)
        return [
            {**row, "attempts": [a for a in attempts if a["position"] == row["position"]]}
            for row in self._all("of_run", run_id=run_id)
        ]

    def counts(self, run_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Per run: (migrations, attempts beyond the first)."""
        rows = self._all("counts", run_ids=list(run_ids))
        return {row["run_id"]: (row["migrations"], int(row["fix_attempts"])) for row in rows}
