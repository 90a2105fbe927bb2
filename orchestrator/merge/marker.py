"""The merge marker in the target: `forkyard.merges`, one row a run that was merged or never may be.

The row is written in the transaction that merges, so it is there exactly when the merge is. Run ids are only
unique within one installation, so that both together are the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any, Literal, cast
from uuid import UUID

import psycopg
from psycopg import errors

from orchestrator.errors import PrivilegeMissing

# One lock per database (advisory locks do not cross databases): the key is ASCII "forkyard" as a bigint.
LOCK_KEY = int.from_bytes(b"forkyard", "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """What the target says about one run."""

    run_id: str
    installation: UUID
    outcome: Literal["merged", "closed"]
    changeset_hash: str | None
    at: datetime


def install(conn: psycopg.Connection[Any]) -> None:
    """Create the schema and the table where they are missing, in the caller's transaction.

    Idempotent. Raises PrivilegeMissing where the login may not create schemas.
    """
    if installed(conn):
        return
    try:
        with conn.transaction():
            lock(conn)
            conn.execute(files(__package__).joinpath("sql/marker.sql").read_bytes())
    except errors.InsufficientPrivilege as exc:
        raise PrivilegeMissing(
            f"login {conn.info.user!r} may not create schema forkyard in database {conn.info.dbname!r}: "
            f'grant it with GRANT CREATE ON DATABASE "{conn.info.dbname}" TO "{conn.info.user}"'
        ) from exc


def lock(conn: psycopg.Connection[Any]) -> None:
    """Wait for the target's merge lock and hold it to the end of the transaction."""
    conn.execute("SELECT pg_catalog.pg_advisory_xact_lock(%s)", [LOCK_KEY])


def read(conn: psycopg.Connection[Any], run_id: str, *, installation: UUID | str) -> Marker | None:
    """The run's marker, or None: not merged, not closed (or no marker table)."""
    if not installed(conn):
        return None
    row = conn.execute(
        "SELECT run_id, installation, outcome, changeset_hash, (extract(epoch FROM at) * 1000000)::int8"
        " FROM forkyard.merges"
        " WHERE installation = %s AND run_id = %s",
        [UUID(str(installation)), run_id],
    ).fetchone()
    if row is None:
        return None
    outcome = cast("Literal['merged', 'closed']", row[2])
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row[4])
    return Marker(run_id=row[0], installation=row[1], outcome=outcome, changeset_hash=row[3], at=at)


def write(conn: psycopg.Connection[Any], run_id: str, *, installation: UUID | str, changeset_hash: str) -> Marker:
    """Mark the run as merged; the caller holds the lock and has seen that no marker stands."""
    conn.execute(
        "INSERT INTO forkyard.merges (installation, run_id, outcome, changeset_hash) VALUES (%s, %s, 'merged', %s)",
        [UUID(str(installation)), run_id, changeset_hash],
    )
    return _standing(conn, run_id, installation)


def close_run(conn: psycopg.Connection[Any], run_id: str, *, installation: UUID | str) -> Marker:
    """Make sure that no later merge of the run can happen; gives the marker that stands, `merged` included.

    Waits for a merge that is under way. Idempotent; in the caller's transaction, which must be READ COMMITTED.
    """
    lock(conn)
    conn.execute(
        "INSERT INTO forkyard.merges (installation, run_id, outcome) VALUES (%s, %s, 'closed') ON CONFLICT DO NOTHING",
        [UUID(str(installation)), run_id],
    )
    return _standing(conn, run_id, installation)


def digest(conn: psycopg.Connection[Any]) -> str:
    """A hash over all markers: a migration that changes one is found by comparing two of these."""
    row = conn.execute(
        "SELECT pg_catalog.md5(coalesce(pg_catalog.string_agg(m::text, E'\\n' ORDER BY m.installation, m.run_id), ''))"
        " FROM forkyard.merges m"
    ).fetchone()
    assert row is not None
    return cast(str, row[0])


def _standing(conn: psycopg.Connection[Any], run_id: str, installation: UUID | str) -> Marker:
    marker = read(conn, run_id, installation=installation)
    assert marker is not None
    return marker


def installed(conn: psycopg.Connection[Any]) -> bool:
    """Whether the marker table is there."""
    row = conn.execute("SELECT pg_catalog.to_regclass('forkyard.merges') IS NOT NULL").fetchone()
    return bool(row and row[0])
