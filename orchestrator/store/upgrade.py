"""Upgrades of the registry's own schema: numbered SQL files, applied in order, with their marks, in one transaction."""

from __future__ import annotations

from importlib.resources import files

import psycopg
from psycopg import sql

from orchestrator.errors import RegistryOutdated, RegistryUnavailable
from orchestrator.store.connection import SCHEMA, unreachable

_LOCK = 4_927_311_066
"""Advisory lock that two upgrades at once contend for (any constant that is ours alone)."""


def pending_and_applied(conninfo: str) -> tuple[list[str], list[str]]:
    """The names of the upgrades that are due, and of those that are done."""
    known = _known()
    with _connect(conninfo) as connection:
        done = _applied(connection)
    return [name for name in known if name not in done], [name for name in known if name in done]


def upgrade(conninfo: str) -> list[str]:
    """Apply what is due and return the names. Idempotent; two at once are serialised.

    Raises RegistryOutdated where the registry is newer than this program.
    """
    known = _known()
    with _connect(conninfo) as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA)))
        connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(SCHEMA)))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS upgrades (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = _applied(connection)
        newer = sorted(set(done) - set(known))
        if newer:
            raise RegistryOutdated(
                f"The registry has upgrade {newer[-1]}, which this Forkyard does not know: update it."
            )
        due = [name for name in known if name not in done]
        for name in due:
            connection.execute((files("orchestrator.store") / "upgrades" / name).read_bytes())
            connection.execute("INSERT INTO upgrades (name) VALUES (%s)", (name,))
    return due


def _known() -> list[str]:
    folder = files("orchestrator.store") / "upgrades"
    return sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))


def _connect(conninfo: str) -> psycopg.Connection:
    try:
        return psycopg.connect(conninfo, autocommit=True, connect_timeout=5, application_name="forkyard-upgrade")
    except psycopg.OperationalError as exc:
        raise RegistryUnavailable(unreachable(exc)) from None


def _applied(connection: psycopg.Connection) -> list[str]:
    row = connection.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.upgrades",)).fetchone()
    if row is None or row[0] is None:
        return []
    statement = sql.SQL("SELECT name FROM {}.upgrades ORDER BY name").format(sql.Identifier(SCHEMA))
    return [str(name) for (name,) in connection.execute(statement)]
