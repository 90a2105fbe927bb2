"""The session that merges: how it connects, what it pins, and how its errors are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import IsolationLevel, errors, sql
from psycopg.conninfo import conninfo_to_dict

from orchestrator.capture.session import pin_values
from orchestrator.errors import (
    ForkyardError,
    MergeRefused,
    MigrationError,
    PrivilegeMissing,
    ProviderUnavailable,
    TargetUnreachable,
)
from orchestrator.secrets import redact

APPLICATION_NAME = "forkyard-merge"
CONNECT_TIMEOUT_SECONDS = 10
IDLE_TIMEOUT_SECONDS = 60.0

Connection = psycopg.Connection[Any]
Connect = Callable[[str], Connection]

# Beside the settings that make values canonical: names are qualified throughout, and no policy may hide a row.
_PINS = b"""
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL row_security = off;
SET LOCAL jit = off;
SELECT pg_catalog.set_config('session_replication_role', 'origin', true)
WHERE pg_catalog.current_setting('session_replication_role') <> 'origin';
"""
_LOST = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.IdleInTransactionSessionTimeout)
_RETRY = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)


def connect(conninfo: str) -> Connection:
    """A READ COMMITTED session on the target, not in autocommit, named so that an administrator knows it.

    READ COMMITTED because a merge that waited for the lock must see what the one before it committed.
    """
    timeout = conninfo_to_dict(conninfo).get("connect_timeout") or CONNECT_TIMEOUT_SECONDS
    conn = psycopg.connect(
        conninfo, application_name=APPLICATION_NAME, connect_timeout=int(timeout), prepare_threshold=None
    )
    conn.isolation_level = IsolationLevel.READ_COMMITTED
    conn.read_only = False
    return conn


@contextmanager
def pinned(conn: Connection) -> Iterator[None]:
    """Values are canonical text and names are qualified within; the migrations' settings are back after it.

    Where the body fails nothing is put back: its transaction is lost anyway.
    """
    before = _settings(conn)
    pin_values(conn)
    conn.execute(_PINS)
    after = _settings(conn)
    yield
    for name, value in before.items():
        if after[name] != value:
            conn.execute("SELECT pg_catalog.set_config(%s, %s, true)", [name, value])


def limit(conn: Connection, *, lock_timeout_seconds: float, statement_timeout_seconds: float) -> None:
    """Set the timeouts to the end of the transaction; 0 means none.

    A worker that vanishes between two statements must not keep the target locked, so idling is limited as well.
    """
    values = {
        "lock_timeout": lock_timeout_seconds,
        "statement_timeout": statement_timeout_seconds,
        "idle_in_transaction_session_timeout": max(statement_timeout_seconds, IDLE_TIMEOUT_SECONDS),
    }
    for name, seconds in values.items():
        conn.execute("SELECT pg_catalog.set_config(%s, %s, true)", [name, f"{round(seconds * 1000)}ms"])


def identity(conn: Connection) -> tuple[str, str, str]:
    """Who acts, who logged in, and in which transaction: a migration can change all three."""
    row = conn.execute(
        "SELECT current_user::text, session_user::text, pg_catalog.pg_current_xact_id()::text"
    ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def restore_identity(conn: Connection, before: tuple[str, str, str]) -> None:
    """Undo a migration's SET ROLE and deferred checks. Raises MergeRefused if it ended the transaction."""
    conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
    current, session, transaction = identity(conn)
    if transaction != before[2]:
        raise MergeRefused(
            "a migration of this run ended the merge's transaction, so that the target may hold a part of it: "
            "compare the target with the run and repair it by hand",
            partial=True,
        )
    if session != before[1]:
        conn.execute("SET LOCAL SESSION AUTHORIZATION DEFAULT")
    if current != before[0]:
        conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(before[0])))


@contextmanager
def translated(conninfo: str, *, run_id: str, during: str = "") -> Iterator[None]:
    """Driver errors as ours; `during` names what was under way (a migration), empty for the merge itself."""
    try:
        yield
    except psycopg.Error as exc:
        raise translate(exc, conninfo, run_id=run_id, during=during) from exc
    except MigrationError as exc:
        cause = _cause(exc)
        if cause is not None:
            raise translate(cause, conninfo, run_id=run_id, during=during) from exc
        raise MergeRefused(f"run {run_id} was not merged: {during or 'a migration'} failed: {exc}") from exc
    except ProviderUnavailable as exc:
        raise TargetUnreachable(f"the connection to {place(conninfo)} was lost; nothing was merged") from exc


def translate(exc: psycopg.Error, conninfo: str, *, run_id: str, during: str = "") -> ForkyardError:
    """The error of ours that a driver's error means while a run is merged; nothing was merged in any case."""
    reason = redact((exc.diag.message_primary or str(exc)).strip())
    doing = f" ({during})" if during else ""
    head = f"run {run_id} was not merged{doing}"
    if isinstance(exc, errors.InsufficientPrivilege):
        return PrivilegeMissing(
            f"{head}: {reason}; give the login of {place(conninfo)} that right, or make it the owner of the tables",
            run=run_id,
        )
    if isinstance(exc, _RETRY):
        return MergeRefused(
            f"{head}: somebody else holds a lock that it needs ({reason}); try again", run=run_id, retry=True
        )
    if isinstance(exc, errors.QueryCanceled):
        return MergeRefused(
            f"{head}: a statement took longer than the target's limit ({reason}); raise the limit or try again",
            run=run_id,
            retry=True,
        )
    if is_lost(exc):
        return TargetUnreachable(f"the connection to {place(conninfo)} was lost ({reason}); nothing was merged")
    return MergeRefused(f"{head}: the target refused it: {_with_detail(exc, reason)}", run=run_id)


def unreachable(exc: psycopg.Error, conninfo: str) -> TargetUnreachable:
    """For a connection that could not be made: no answer, no such database, wrong password."""
    reason = redact(" ".join(str(exc).split()))
    return TargetUnreachable(f"{place(conninfo)} cannot be reached: {reason}; check its address, login and password")


def is_lost(exc: psycopg.Error) -> bool:
    """Whether the error means that the session is gone."""
    state = exc.sqlstate or ""
    return isinstance(exc, _LOST) or state.startswith("08") or (isinstance(exc, psycopg.OperationalError) and not state)


def place(conninfo: str) -> str:
    """The target for a message: database and host, never the password."""
    parts = conninfo_to_dict(conninfo)
    host = parts.get("host") or parts.get("hostaddr") or "the local socket"
    return f"target {parts.get('dbname') or parts.get('user') or 'postgres'} at {host}"


def _cause(exc: MigrationError) -> psycopg.Error | None:
    """The driver's error behind a failed migration: chained, or told by its SQLSTATE alone."""
    state = exc.context.get("sqlstate")
    if isinstance(exc.__cause__, psycopg.Error):
        return exc.__cause__
    try:
        return errors.lookup(state)(str(exc)) if isinstance(state, str) else None
    except KeyError:
        return None


def _with_detail(exc: psycopg.Error, reason: str) -> str:
    detail = exc.diag.message_detail
    return f"{reason} ({redact(detail)})" if detail else reason


def _settings(conn: Connection) -> dict[str, str]:
    rows = conn.execute("SELECT name, pg_catalog.current_setting(name, true) FROM pg_catalog.pg_settings").fetchall()
    return {name: value for name, value in rows if value is not None}
