"""The seam between the engine and whatever repairs a broken migration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.migrations.names import SchemaNames
from orchestrator.migrations.records import Attempt, SqlError
from orchestrator.migrations.split import Statement, split


@dataclass(frozen=True, slots=True, kw_only=True)
class FixContext:
    """All that a fixer may know: the text that failed, why, the names in the database, and what was tried.

    `schema` is the database as it was before the migration; `migration_so_far` is the text of the statements
    that ran before the failing one (all rolled back since). `original` is what the agent wrote.
    """

    sql: str
    error: SqlError
    schema: SchemaNames
    migration_so_far: str = ""
    attempts: Sequence[Attempt] = ()

    @property
    def original(self) -> str:
        return self.attempts[0].sql if self.attempts else self.sql

    def statements(self) -> tuple[Statement, ...]:
        """The pieces of the failed text, blank ones included; joined they are the text."""
        return split(self.sql)

    def failing(self) -> Statement | None:
        """The statement that the error names; None where the error belongs to no statement."""
        wanted = self.error.statement
        real = [piece for piece in self.statements() if not piece.blank]
        return real[wanted - 1] if wanted and wanted <= len(real) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """A new full text to try, or (`problem`) why the fixer's answer cannot be tried: that counts as a try."""

    sql: str
    note: str
    problem: str | None = None
    tokens: int = 0
    cost: float | None = None


class Fixer(Protocol):
    """Proposes a new full text for a migration that failed, or None if it knows no better.

    A fixer touches no database, may be asked several times for one migration (on different errors), and never
    drops or weakens data or constraints.
    """

    @property
    def name(self) -> str:
        """For the ledger: a rule's name, or `llm:<model>`."""
        ...

    def __call__(self, context: FixContext, /) -> Fix | None: ...
