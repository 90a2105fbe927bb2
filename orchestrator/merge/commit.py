"""The end of a merge: commit, and the truth where the answer to COMMIT was lost."""

from __future__ import annotations

import time
from uuid import UUID

import psycopg

from orchestrator.errors import TargetUnreachable
from orchestrator.merge import marker, session
from orchestrator.merge.marker import Marker
from orchestrator.merge.session import Connect, Connection

ATTEMPTS = 5
PAUSE_SECONDS = 0.5
LOCK_TIMEOUT_SECONDS = 10.0


def commit(conn: Connection, conninfo: str, *, run_id: str, installation: UUID, connect: Connect) -> None:
    """Commit the merge. On return it is done, also where that was only found out on a second connection.

    Raises TargetUnreachable: with `unknown` False nothing was merged, with `unknown` True nobody can tell yet, and the
    next merge of the run will. Raises MergeRefused where the target refused the commit.
    """
    try:
        conn.commit()
    except psycopg.Error as exc:
        if not session.is_lost(exc) and not conn.broken:
            raise session.translate(exc, conninfo, run_id=run_id, during="commit") from exc
        conn.close()
        if _ask(conninfo, run_id=run_id, installation=installation, connect=connect) is None:
            raise TargetUnreachable(
                f"the connection to {session.place(conninfo)} was lost when run {run_id} was about to be committed: "
                "nothing was merged; merge it again",
                unknown=False,
            ) from exc


def _ask(conninfo: str, *, run_id: str, installation: UUID, connect: Connect) -> Marker | None:
    """The run's marker, read once the lost session has ended: it holds the lock as long as it may still commit."""
    for attempt in range(ATTEMPTS):
        try:
            with connect(conninfo) as conn:
                session.limit(conn, lock_timeout_seconds=LOCK_TIMEOUT_SECONDS, statement_timeout_seconds=60.0)
                marker.lock(conn)
                return marker.read(conn, run_id, installation=installation)
        except psycopg.OperationalError:
            time.sleep(PAUSE_SECONDS * 2**attempt)
    raise TargetUnreachable(
        f"the connection to {session.place(conninfo)} was lost while run {run_id} was committed, and it does not "
        "answer: whether it was merged is not known yet; merge it again, which is safe and will tell",
        unknown=True,
    )
