"""Apply migrations: one transaction each, every attempt on record, repairs proposed by fixers.

The engine takes a connection and a text. It knows no run, no fork and no registry, so that a run, a scratch
fork, a rehearsal and a merge are all the same to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import psycopg
from psycopg.pq import TransactionStatus

from orchestrator.errors import MigrationError, ProviderUnavailable
from orchestrator.migrations.execute import restore_settings, run_statement, session_settings, sql_error
from orchestrator.migrations.files import Migration
from orchestrator.migrations.fixers.base import Fix, FixContext, Fixer
from orchestrator.migrations.names import SchemaNames, read_names
from orchestrator.migrations.records import Attempt, MigrationOutcome, SqlError
from orchestrator.migrations.script import Refused, read_script
from orchestrator.migrations.split import split

# The server's state or the role's rights, not the text: another text would fail as well, or must not succeed.
_NOT_THE_TEXT = ("40", "42501", "53", "55P03", "57", "58", "XX")


class LedgerEntry(Protocol):
    """A migration that was applied before, in its final text."""

    @property
    def name(self) -> str: ...

    @property
    def sql(self) -> str: ...


def apply_migration(
    conn: psycopg.Connection[Any],
    migration: Migration,
    *,
    fixers: Sequence[Fixer],
    max_tries: int = 3,
    lock_timeout_seconds: float = 10,
    statement_timeout_seconds: float = 300,
    on_attempt: Callable[[Attempt], None] | None = None,
    before_commit: Callable[[str, str], None] | None = None,
) -> MigrationOutcome:
    """Apply a migration in one transaction; on failure roll back wholly, ask the fixers in order, try again.

    `max_tries` bounds the attempts in all, the text as written included; an unusable answer of a fixer is an
    attempt too. `on_attempt` hears of each attempt once it is over (rolled back or committed), outside of any
    transaction. `before_commit` hears of a text that ran, with its transaction's id, right before the commit: who
    writes both down can learn after a crash whether it was committed (see `committed`). A statement that fails is
    an outcome, not an exception; fixers that give the text of an earlier attempt count as having no idea.

    `conn` may be in either autocommit mode but must be idle; it is left idle, and settings that the migration
    changed for the session are set back. Raises ProviderUnavailable when the connection is lost: then the caller
    cannot know whether the transaction was committed, and must look, or start on a fresh fork.
    """
    if conn.info.transaction_status is not TransactionStatus.IDLE:
        raise ValueError("apply_migration needs an idle connection: it makes its own transactions")
    limits = _Limits(lock_seconds=lock_timeout_seconds, statement_seconds=statement_timeout_seconds)
    try:
        return _Application(conn, migration, limits, tuple(fixers), max_tries, on_attempt, before_commit).run()
    except psycopg.Error as exc:
        if not conn.closed:
            raise
        raise ProviderUnavailable(
            f"The connection was lost during the migration {migration.name}.", migration=migration.name
        ) from exc


def replay(conn: psycopg.Connection[Any], entries: Iterable[LedgerEntry]) -> None:
    """Run applied migrations again, in order, inside the caller's transaction; nothing is repaired.

    Raises MigrationError at the first failure, with `migration`, `sqlstate`, `statement`, `position` and `detail`
    in its context; the transaction is then broken, and the caller's to roll back.
    """
    if conn.info.transaction_status is not TransactionStatus.INTRANS:
        raise ValueError("replay needs an open transaction: it belongs to the caller")
    for entry in entries:
        before = session_settings(conn)
        error, _, _ = _run(conn, entry.sql)
        if error is not None:
            raise MigrationError(
                f"The migration {entry.name} failed on replay: {error.message}",
                migration=entry.name,
                sqlstate=error.sqlstate,
                statement=error.statement,
                position=error.position,
                detail=error.detail,
            )
        restore_settings(conn, before)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    lock_seconds: float
    statement_seconds: float

    def set(self, conn: psycopg.Connection[Any]) -> None:
        conn.execute(
            "SELECT pg_catalog.set_config('lock_timeout', %s, true),"
            " pg_catalog.set_config('statement_timeout', %s, true)",
            (str(_milliseconds(self.lock_seconds)), str(_milliseconds(self.statement_seconds))),
            prepare=False,
        )


@dataclass(slots=True)
class _Application:
    """One migration on its way: at most `max_tries` attempts."""

    conn: psycopg.Connection[Any]
    migration: Migration
    limits: _Limits
    fixers: tuple[Fixer, ...]
    max_tries: int
    on_attempt: Callable[[Attempt], None] | None
    before_commit: Callable[[str, str], None] | None
    attempts: list[Attempt] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    statements: int = 0
    names: SchemaNames | None = None
    failed: tuple[str, SqlError] | None = None
    """The last text that the server refused, and why; what fixers are asked about."""

    def run(self) -> MigrationOutcome:
        started = time.monotonic()
        fix, fixer = Fix(sql=self.migration.sql, note=""), "none"
        while True:
            error = self._try(fix, fixer)
            if error is None or len(self.attempts) >= self.max_tries or not _may_be_repaired(error):
                return self._outcome(applied=error is None, seconds=time.monotonic() - started)
            proposal = self._ask()
            if proposal is None:
                return self._outcome(applied=False, seconds=time.monotonic() - started)
            fix, fixer = proposal

    def _try(self, fix: Fix, fixer: str) -> SqlError | None:
        """Apply one text, and report it. Returns why it failed."""
        started = time.monotonic()
        if fix.problem:
            error: SqlError | None = SqlError(sqlstate=None, message=fix.problem)
        else:
            error = self._commit(fix.sql)
            self.failed = (fix.sql, error) if error else None
        attempt = Attempt(
            number=len(self.attempts) + 1,
            fixer=fixer,
            sql=fix.sql,
            error=error,
            duration_seconds=time.monotonic() - started,
            note=fix.note,
            tokens=fix.tokens,
            cost=fix.cost,
        )
        self.attempts.append(attempt)
        if self.on_attempt is not None:
            self.on_attempt(attempt)
        return error

    def _commit(self, text: str) -> SqlError | None:
        error: SqlError | None = None
        try:
            with self.conn.transaction():
                before = session_settings(self.conn)
                self.limits.set(self.conn)
                error, self.statements, self.notes = _run(self.conn, text)
                if error is not None:
                    raise psycopg.Rollback
                # Deferred constraints speak here, under the limits, rather than in the commit.
                self.conn.execute("SET CONSTRAINTS ALL IMMEDIATE", prepare=False)
                restore_settings(self.conn, before)
                if self.before_commit is not None:
                    self.before_commit(_transaction_id(self.conn), text)
        except psycopg.Error as exc:
            if self.conn.closed:
                raise
            return sql_error(exc, None)
        return error

    def _ask(self) -> tuple[Fix, str] | None:
        """The first proposal, in the fixers' order, that was not tried before."""
        if self.failed is None or not self.fixers:
            return None
        if self.names is None:
            self.names = read_names(self.conn)
        text, error = self.failed
        context = FixContext(
            sql=text,
            error=error,
            schema=self.names,
            migration_so_far=_before_failure(text, error),
            attempts=tuple(self.attempts),
        )
        tried = {attempt.sql for attempt in self.attempts}
        for fixer in self.fixers:
            fix = fixer(context)
            if fix is not None and (fix.problem or fix.sql not in tried):
                return fix, fixer.name
        return None

    def _outcome(self, *, applied: bool, seconds: float) -> MigrationOutcome:
        return MigrationOutcome(
            name=self.migration.name,
            original=self.migration.sql,
            final=self.attempts[-1].sql if applied else None,
            applied=applied,
            attempts=tuple(self.attempts),
            statements=self.statements,
            duration_seconds=seconds,
            notes=self.notes,
        )


def _run(conn: psycopg.Connection[Any], text: str) -> tuple[SqlError | None, int, tuple[str, ...]]:
    """Run a text's statements in the open transaction: the error or None, how many ran, the engine's notes.

    Raises psycopg.Error only when the connection is lost.
    """
    done = 0
    try:
        script = read_script(text)
    except Refused as exc:
        return exc.error, 0, ()
    for item in script.statements:
        try:
            run_statement(conn, item.statement)
        except psycopg.Error as exc:
            if conn.closed:
                raise
            return sql_error(exc, item), done, script.notes
        except Refused as exc:
            return replace(exc.error, statement=item.number), done, script.notes
        done += 1
    return None, done, script.notes


def _may_be_repaired(error: SqlError) -> bool:
    return error.sqlstate is None or not error.sqlstate.startswith(_NOT_THE_TEXT)


def _before_failure(text: str, error: SqlError) -> str:
    pieces = [piece for piece in split(text) if not piece.blank]
    number = error.statement or 1
    return text[: pieces[number - 1].start] if number <= len(pieces) else ""


def committed(conn: psycopg.Connection[Any], transaction_id: str) -> bool | None:
    """Whether the transaction that `before_commit` told of was committed; None while it still runs.

    The server forgets old transactions, after a billion or so; what it no longer knows counts as not committed.
    """
    row = conn.execute("SELECT pg_catalog.pg_xact_status(%s::xid8)", (transaction_id,)).fetchone()
    status = row[0] if row else None
    return None if status == "in progress" else status == "committed"


def _transaction_id(conn: psycopg.Connection[Any]) -> str:
    row = conn.execute("SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text").fetchone()
    return str(row[0]) if row else ""


def _milliseconds(seconds: float) -> int:
    """At least one: zero would mean no limit."""
    return max(1, round(seconds * 1000))
