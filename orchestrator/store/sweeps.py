"""The record of sweeps, and the lock that makes a second sweeper harmless."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from psycopg.types.json import Jsonb

from orchestrator.store.connection import Table


class Sweeps(Table):
    file = "sweeps"

    @contextmanager
    def lock(self, name: str) -> Iterator[bool]:
        """Hold the sweep's advisory lock for the body; False if another sweeper has it."""
        with self._database.transaction() as connection:
            row = self._row(connection, "try_lock", {"name": name})
            yield bool(row and row["locked"])

    def record(self, name: str, *, started_at: datetime, outcome: str, findings: list[dict[str, Any]]) -> None:
        self._all("insert", name=name, started_at=started_at, outcome=outcome, findings=Jsonb(findings))

    def last(self) -> list[dict[str, Any]]:
        """The newest pass of each sweep, with its age in seconds."""
        return self._all("last")

    def prune(self, *, days: int) -> int:
        row = self._one("prune", days=days)
        return int(row["pruned"]) if row else 0

    @staticmethod
    def now() -> datetime:
        return datetime.now(UTC)
