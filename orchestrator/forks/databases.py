"""What is done to a single database of the fork host: copy it, stamp it, empty it of sessions, drop it."""

from __future__ import annotations

import time
from contextlib import suppress

import psycopg
from psycopg import errors as pg
from psycopg import sql

from orchestrator.errors import ProviderUnavailable
from orchestrator.forks.base import Stamp
from orchestrator.forks.host import Host, catalog_sql

SESSIONS_END_SECONDS = 10.0
DROP_SECONDS = 15
DROP_TRIES = 3
CLONING_SERVER_VERSION = 180000


def copy(conn: psycopg.Connection, name: str, template: str) -> None:
    """A copy that nobody can connect to yet; ACL and settings are not the template's.

    Copy-on-write wherever server and file system can. Raises psycopg's ObjectInUse after five seconds where the
    template has sessions.
    """
    if conn.info.server_version >= CLONING_SERVER_VERSION:
        with suppress(pg.InvalidParameterValue):  # a platform whose files cannot be cloned
            conn.execute("SET file_copy_method = clone")
    conn.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY ALLOW_CONNECTIONS false").format(
            sql.Identifier(name), sql.Identifier(template)
        )
    )


def drop(conn: psycopg.Connection, name: str) -> None:
    """Remove a database with its sessions; nothing to do if it is gone.

    Raises ProviderUnavailable where a session keeps the server from it; what is left then can be dropped again.
    """
    for _ in range(DROP_TRIES):
        try:
            conn.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(f"{DROP_SECONDS}s")))
            return _drop(conn, name)
        except pg.ObjectInUse as exc:
            raise ProviderUnavailable(f'Sessions in "{name}" do not end, so it cannot be removed yet.') from exc
        except pg.QueryCanceled:
            # Every session of the server has to take note of a dropped database, and one that waits for its client's
            # data in the middle of a COPY does not: any agent could hold up all others so.
            conn.execute(catalog_sql("terminate_copying"))
        finally:
            if not conn.broken:
                conn.execute("SET statement_timeout = 0")
    raise ProviderUnavailable(f'"{name}" cannot be removed yet: some session of the server does not take note of it.')


def _drop(conn: psycopg.Connection, name: str) -> None:
    statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    try:
        conn.execute(sql.SQL("{} WITH (FORCE)").format(statement))
    except pg.InsufficientPrivilege:
        # Autovacuum is at it: its worker counts as the superuser's session, for which FORCE ends nobody's. A plain
        # drop asks that worker to leave, and waits for it.
        conn.execute(catalog_sql("terminate_all"), {"name": name})
        conn.execute(statement)


def end_sessions(conn: psycopg.Connection, name: str, database_oid: int) -> None:
    """End the sessions of a fork's role and wait until they are gone; the role must not be able to connect any more.

    Raises ProviderUnavailable after ten seconds.
    """
    who = {"database_oid": database_oid, "role": name}
    deadline, pause = time.monotonic() + SESSIONS_END_SECONDS, 0.001
    while True:
        conn.execute(catalog_sql("terminate"), who)
        if not conn.execute(catalog_sql("sessions"), who).fetchall():
            return
        if time.monotonic() > deadline:
            raise ProviderUnavailable(f'The sessions in the fork "{name}" do not end; try again.')
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def own_everything(host: Host, conn: psycopg.Connection, name: str, *, owner: str) -> None:
    """What an agent made under its login role belongs to the owner too, as if a migration had made it."""
    forget_prepared(host, conn, name)
    with host.connect(name) as inside:
        inside.execute(sql.SQL("REASSIGN OWNED BY {} TO {}").format(sql.Identifier(name), sql.Identifier(owner)))


def forget_prepared(host: Host, conn: psycopg.Connection, name: str) -> None:
    """Roll back what was prepared in a database: it outlives its session and would keep the database."""
    for gid, role in conn.execute(catalog_sql("prepared"), {"name": name}).fetchall():
        with host.connect(name) as inside, suppress(pg.UndefinedObject):
            inside.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            inside.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))


def allow_connections(name: str) -> sql.Composed:
    return sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name))


def revoke_connect(database: str, role: str) -> sql.Composed:
    return sql.SQL("REVOKE CONNECT ON DATABASE {} FROM {}").format(sql.Identifier(database), sql.Identifier(role))


def stamp_database(name: str, stamp: Stamp) -> sql.Composed:
    return sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(stamp.to_json()))


def stamp_role(name: str, stamp: Stamp) -> sql.Composed:
    return sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(name), sql.Literal(stamp.to_json()))
