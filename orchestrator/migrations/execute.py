"""Running one statement, and leaving a session as it was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import generators, pq
from psycopg.abc import PQGen

from orchestrator.migrations.records import SqlError
from orchestrator.migrations.script import Numbered, Refused
from orchestrator.migrations.split import Statement

_CHANGED_SETTINGS = """
SELECT name, setting FROM pg_catalog.pg_settings WHERE source = 'session'
UNION ALL SELECT name, pg_catalog.current_setting(name)
FROM (VALUES ('session_authorization'), ('role')) AS identity (name)
"""
_COPYING = (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH)


def run_statement(conn: psycopg.Connection[Any], statement: Statement) -> None:
    """Send one statement exactly as written, and its COPY data after it; rows that it returns are thrown away.

    The extended protocol makes the server refuse a text of more than one statement, so that no COMMIT can hide
    behind a difference between our splitting and the server's. Raises psycopg.Error, or Refused.
    """
    encoding = conn.info.encoding
    text = statement.sql.encode(encoding)
    if statement.copy_data is not None:
        with conn.cursor().copy(text) as copy:
            copy.write(statement.copy_data)
    else:
        conn.pgconn.send_query_params(text, None)
        # Row by row: an agent's SELECT over a whole table must not fill the worker's memory.
        conn.pgconn.set_single_row_mode()
        conn.wait(_drain(conn, encoding))
    if conn.pgconn.parameter_status(b"standard_conforming_strings") != b"on":
        message = "standard_conforming_strings must stay on: write backslashes in E'' strings instead."
        raise Refused(SqlError(sqlstate=None, message=message))


def sql_error(exc: psycopg.Error, item: Numbered | None) -> SqlError:
    """The server's report with its position moved from the statement to the whole text."""
    diag = exc.diag
    position = None
    if item is not None and diag.statement_position:
        position = item.statement.start + int(diag.statement_position)
    return SqlError(
        sqlstate=exc.sqlstate,
        message=diag.message_primary or str(exc).strip() or type(exc).__name__,
        position=position,
        hint=diag.message_hint,
        statement=item.number if item else None,
        detail=diag.message_detail,
    )


def session_settings(conn: psycopg.Connection[Any]) -> dict[str, str]:
    """What SET has changed in this session so far, the identity included."""
    return {str(name): str(value) for name, value in conn.execute(_CHANGED_SETTINGS, prepare=False).fetchall()}


def restore_settings(conn: psycopg.Connection[Any], before: Mapping[str, str]) -> None:
    """Undo what a migration SET beyond its own text, so that it cannot colour the next one, or a merge.

    Runs inside the migration's transaction, so that text and settings stand or fall together.
    """
    # A migration may have set a limit that is too short for the catalog query below.
    conn.execute("SET LOCAL statement_timeout = 0", prepare=False)
    after = session_settings(conn)
    for name in sorted(after.keys() | before.keys(), key=lambda name: (name == "role", name)):
        if before.get(name) == after.get(name):
            continue
        if name in before:
            conn.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, before[name]), prepare=False)
        else:
            conn.execute(psycopg.sql.SQL("RESET {}").format(psycopg.sql.Identifier(*name.split("."))), prepare=False)


def _drain(conn: psycopg.Connection[Any], encoding: str) -> PQGen[None]:
    """Read every result, so that the connection is ready again; then raise the error, if one came."""
    failed: pq.abc.PGresult | None = None
    yield from generators.send(conn.pgconn)
    while (result := (yield from generators.fetch(conn.pgconn))) is not None:
        if result.status in _COPYING:
            # A copy that was not recognised before it was sent: there is no tidy way out of that state.
            conn.close()
            raise Refused(SqlError(sqlstate=None, message="That form of COPY is not possible in a migration."))
        if result.status == pq.ExecStatus.FATAL_ERROR:
            failed = result
    if failed is not None:
        raise psycopg.errors.error_from_result(failed, encoding=encoding)
