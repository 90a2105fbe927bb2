"""The user's metrics and checks: SQL that gives one value, asked of a fork after its run.

The fork may hold views, functions and policies that an agent wrote, so a question is asked with the agent's own rights,
in a read-only transaction of a session of its own, under settings that the fork cannot choose (time zone UTC), and ends
in time even if the fork's code refuses to be cancelled.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from orchestrator.capture.session import Connection, begin_snapshot
from orchestrator.errors import CaptureError, ProviderUnavailable

_GRACE_SECONDS = 2.0
"""How long after its statement timeout a session may take to end by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Whether a check gave true; if not, `detail` says what it gave or why it could not be asked."""

    name: str
    ok: bool
    detail: str


def run_metrics(
    conninfo: str,
    metrics: Mapping[str, str],
    timeout_seconds: float,
    *,
    search_path: Sequence[str] = ("public",),
) -> dict[str, float | None]:
    """Each metric's number; None where its SQL gave NULL.

    Raises CaptureError, naming the metric, for SQL that fails, takes longer than `timeout_seconds`, or gives anything
    but one finite number; ProviderUnavailable where the database does not answer.
    """
    return {
        name: _number(name, _ask(conninfo, f"Metric {name!r}", query, timeout_seconds, search_path))
        for name, query in metrics.items()
    }


def run_checks(
    conninfo: str,
    checks: Mapping[str, str],
    timeout_seconds: float,
    *,
    search_path: Sequence[str] = ("public",),
) -> tuple[CheckResult, ...]:
    """Each check's result, in the given order; one that cannot be asked is not ok.

    Raises ProviderUnavailable where the database does not answer.
    """
    results = []
    for name, query in checks.items():
        try:
            value = _ask(conninfo, f"Check {name!r}", query, timeout_seconds, search_path)
        except CaptureError as exc:
            results.append(CheckResult(name=name, ok=False, detail=exc.message))
        else:
            detail = "" if value is True else f"Check {name!r} gave {_shown(value)}."
            results.append(CheckResult(name=name, ok=value is True, detail=detail))
    return tuple(results)


def _number(name: str, value: object) -> float | None:
    if value is None:
        return None
    # A boolean counts as 0 or 1.
    number = float(value) if isinstance(value, int | float | Decimal) and _fits(value) else math.nan
    if not math.isfinite(number):
        raise CaptureError(f"Metric {name!r} gave {_shown(value)}, which is not a finite number.")
    return number


def _fits(value: float | Decimal) -> bool:
    try:
        return math.isfinite(float(value))
    except (OverflowError, ValueError):
        return False


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "NULL", True: "true", False: "false"}[value]
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _ask(conninfo: str, subject: str, query: str, timeout_seconds: float, search_path: Sequence[str]) -> object:
    try:
        conn: Connection = psycopg.connect(conninfo, autocommit=True, row_factory=tuple_row, connect_timeout=10)
    except psycopg.OperationalError as exc:
        raise ProviderUnavailable(f"{subject} could not be asked: the database does not answer.") from exc
    with contextlib.closing(conn), _deadline(conn, conninfo, timeout_seconds + _GRACE_SECONDS) as expired:
        try:
            return _one_value(conn, subject, query, timeout_seconds, search_path)
        except psycopg.Error as exc:
            if expired.is_set() or isinstance(exc, psycopg.errors.QueryCanceled):
                raise CaptureError(f"{subject} took longer than {timeout_seconds:g} s.") from exc
            if conn.closed:
                raise ProviderUnavailable(f"{subject} was not answered: the connection was lost.") from exc
            reason = exc.diag.message_primary or str(exc)
            raise CaptureError(f"{subject} failed: {reason}.") from exc


def _one_value(
    conn: Connection, subject: str, query: str, timeout_seconds: float, search_path: Sequence[str]
) -> object:
    with conn.transaction(force_rollback=True):
        begin_snapshot(conn)
        path = sql.SQL(", ").join(map(sql.Identifier, [*search_path, "pg_temp"]))
        conn.execute(sql.SQL("SET LOCAL search_path = {}").format(path))
        milliseconds = sql.Literal(max(1, math.ceil(timeout_seconds * 1000)))
        conn.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(milliseconds))
        # A cursor takes one SELECT and nothing else, and hands out two rows of however many there are.
        with conn.cursor(name="value") as cursor:
            cursor.execute(query.encode())
            columns = len(cursor.description or ())
            rows: list[tuple[Any, ...]] = cursor.fetchmany(2)
    if columns != 1 or len(rows) != 1:
        found = f"{columns} columns" if columns != 1 else "no row" if not rows else "more than one row"
        raise CaptureError(f"{subject} must give one row with one value; it gave {found}.")
    value: object = rows[0][0]
    return value


@contextlib.contextmanager
def _deadline(conn: Connection, conninfo: str, seconds: float) -> Iterator[threading.Event]:
    """Ends the session after `seconds`, whatever it runs; the event tells that it came to that.

    A function can catch the statement timeout and go on, but no code in the database outlives its session's end.
    """
    expired = threading.Event()
    pid, handle = conn.info.backend_pid, conn.fileno()

    def end() -> None:
        expired.set()
        with contextlib.suppress(psycopg.Error):
            _terminate(conninfo, pid)
        # Wakes the waiting thread even if the server would not listen.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(handle)) as waiting:
            waiting.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()
        timer.join()


def _terminate(conninfo: str, pid: int) -> None:
    with psycopg.connect(conninfo, autocommit=True, connect_timeout=5) as conn:
        # A session belongs to the login, not to the role that it took on.
        conn.execute("SET ROLE NONE")
        conn.execute("SELECT pg_catalog.pg_terminate_backend(%s)", (pid,))
