"""The session in which a database is read: pinned settings, one snapshot, nothing written, nothing of its code run.

A fork is hostile input. Its role and database settings, casts, operators, functions and policies were made by the
agent, so capture qualifies or pins all that it uses and reads values through output functions only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any

import psycopg
from psycopg import pq, sql
from psycopg.rows import tuple_row

from orchestrator.errors import CaptureError, ProviderUnavailable

Connection = psycopg.Connection[Any]


@cache
def statement(name: str) -> bytes:
    """The text of `sql/postgres/<name>.sql`."""
    return resources.files(__package__).joinpath("sql", "postgres", f"{name}.sql").read_bytes()


def pin_values(conn: Connection) -> None:
    """For the rest of the transaction: read and write values as canonical text. Merge pins the same."""
    conn.execute(statement("values"))


def pin_reading(conn: Connection) -> None:
    """For the rest of the transaction: as `pin_values`, and no setting of the database's own has a say."""
    conn.execute(statement("values"))
    conn.execute(statement("reading"))
    if conn.info.server_version >= 170000:
        conn.execute("SET LOCAL transaction_timeout = 0")


def begin_snapshot(conn: Connection) -> None:
    """Makes the transaction that has just begun REPEATABLE READ, READ ONLY, pinned, and able to see all rows.

    FORCE ROW LEVEL SECURITY would hide rows even from the tables' owner, so it is lifted for the rest of the
    transaction, which the caller must roll back.
    """
    conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE")
    pin_reading(conn)
    with conn.cursor(row_factory=tuple_row) as cursor:
        for schema, table in cursor.execute(statement("forced_row_security")).fetchall():
            alter = sql.SQL("ALTER TABLE ONLY {} NO FORCE ROW LEVEL SECURITY")
            cursor.execute(alter.format(sql.Identifier(schema, table)))
    conn.execute("SET TRANSACTION READ ONLY")


@contextmanager
def inspecting(conn: Connection) -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
    """A cursor for catalog queries, in a transaction or, inside the caller's, a savepoint; undone at the end.

    Nothing of the caller's session changes. Raises CaptureError, or ProviderUnavailable for a lost connection.
    """
    with translated(conn), conn.transaction(force_rollback=True):
        pin_reading(conn)
        with conn.cursor(row_factory=tuple_row) as cursor:
            yield cursor


@contextmanager
def reading(conn: Connection) -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
    """A cursor on one snapshot of all rows, undone at the end.

    The connection must be idle. Raises as `inspecting` does.
    """
    if conn.info.transaction_status != pq.TransactionStatus.IDLE:
        raise CaptureError("Rows are compared on one snapshot: the connection must not be inside a transaction.")
    with translated(conn), conn.transaction(force_rollback=True):
        begin_snapshot(conn)
        with conn.cursor(row_factory=tuple_row) as cursor:
            yield cursor


@contextmanager
def translated(conn: Connection) -> Iterator[None]:
    """Driver errors as ours, naming the database."""
    database = conn.info.dbname
    try:
        yield
    except psycopg.Error as exc:
        if conn.closed or (exc.sqlstate or "").startswith(("08", "57P")):
            raise ProviderUnavailable(
                f"The connection to {database} was lost while it was read.", database=database
            ) from exc
        reason = exc.diag.message_primary or str(exc)
        raise CaptureError(f"{database} could not be read: {reason}.", database=database) from exc
    except UnicodeDecodeError as exc:
        raise CaptureError(
            f"{database} holds text that is not valid UTF-8 (server encoding SQL_ASCII?), so its rows cannot be "
            "captured as text.",
            database=database,
        ) from exc
