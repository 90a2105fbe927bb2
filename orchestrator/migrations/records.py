"""What is recorded about a migration: every attempt, every error, the outcome."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlError:
    """Why an attempt failed.

    `sqlstate` is None where the server was never asked (a psql command, a refused candidate, an unusable answer).
    `position` counts characters from 1 within the whole migration text, `statement` counts statements from 1;
    both are None where the error belongs to no place (a deferred constraint at the commit). `detail` is the
    server's DETAIL and may quote rows: it is for people, never for a prompt.
    """

    sqlstate: str | None
    message: str
    position: int | None = None
    hint: str | None = None
    statement: int | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try: the text, who wrote it ("none" = the migration's author), and how it went (error None = applied)."""

    number: int
    fixer: str
    sql: str
    error: SqlError | None
    duration_seconds: float
    note: str = ""
    """What the fixer says that it changed."""
    tokens: int = 0
    cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationOutcome:
    """How a migration went in all. `final` is the text that stands in the database, None if none does."""

    name: str
    original: str
    final: str | None
    applied: bool
    attempts: tuple[Attempt, ...]
    statements: int
    """How many statements of the final text ran; of the last attempt's text if none was applied."""
    duration_seconds: float
    notes: tuple[str, ...] = ()
    """What the engine did that the text does not say, such as an outer BEGIN … COMMIT left out."""

    @property
    def error(self) -> SqlError | None:
        """Why it was not applied; None if it was."""
        return None if self.applied else self.attempts[-1].error

    @property
    def repaired_by(self) -> str | None:
        """The fixer whose text was applied; None for an untouched or failed migration."""
        return self.attempts[-1].fixer if self.applied and len(self.attempts) > 1 else None
