"""Whether a database can be a target: for `project add`, before anything depends on it, and for `doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg

from orchestrator.merge import session
from orchestrator.merge.catalog import display, query
from orchestrator.merge.session import Connection

OLDEST_VERSION = 14
SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `ok` with a `fix` is a warning: it works, and could be better."""

    subject: str
    ok: bool
    detail: str
    fix: str = ""


def check_target(conninfo: str) -> tuple[Finding, ...]:
    """What a merge needs of the target, checked with the login that will merge. Changes nothing, raises nothing.

    A target that cannot be reached gives one finding, `connection`.
    """
    try:
        conn = session.connect(conninfo)
    except psycopg.Error as exc:
        return (Finding(subject="connection", ok=False, detail=str(session.unreachable(exc, conninfo))),)
    try:
        with conn:
            return tuple(_findings(conn))
    except psycopg.Error as exc:
        problem = session.translate(exc, conninfo, run_id="(check)")
        return (Finding(subject="connection", ok=False, detail=str(problem)),)


def _findings(conn: Connection) -> Iterator[Finding]:
    row = conn.execute(query("login")).fetchone()
    assert row is not None
    number, version, user, database, superuser, may_create, may_use_temp, read_only, encoding = row
    yield Finding(subject="connection", ok=True, detail=f"database {database} as {user}")
    yield _finding(
        "version",
        ok=number >= OLDEST_VERSION * 10_000,
        detail=f"PostgreSQL {version}",
        fix=f"Forkyard needs PostgreSQL {OLDEST_VERSION} or later",
    )
    yield _finding(
        "writable",
        ok=not read_only,
        detail="a standby, or read-only by default" if read_only else "accepts writes",
        fix="name the primary server, or set default_transaction_read_only = off for the login",
    )
    yield _finding(
        "encoding",
        ok=encoding == "UTF8",
        detail=encoding,
        fix="Forkyard compares text in UTF-8; recreate the database so",
    )
    yield _marker(conn, user=user, database=database, may_create=may_create)
    yield _finding(
        "temporary tables",
        ok=may_use_temp,
        detail="allowed" if may_use_temp else "not allowed",
        fix=f'GRANT TEMPORARY ON DATABASE "{database}" TO "{user}"',
    )
    yield _ownership(conn.execute(query("not_owned")).fetchall(), user=user)
    yield Finding(
        subject="login",
        ok=True,
        detail=f"{user} is a superuser" if superuser else f"{user} is an ordinary login",
        fix="agents' migrations run with this login's rights: use the tables' owner instead" if superuser else "",
    )


def _marker(conn: Connection, *, user: str, database: str, may_create: bool) -> Finding:
    row = conn.execute(query("marker_rights")).fetchone()
    assert row is not None
    there, usable = row
    if there:
        return _finding(
            "merge marker",
            ok=usable,
            detail="forkyard.merges is there" + ("" if usable else f", but {user} may not use it"),
            fix=f'GRANT USAGE ON SCHEMA forkyard TO "{user}"; GRANT SELECT, INSERT ON forkyard.merges TO "{user}"',
        )
    return _finding(
        "merge marker",
        ok=may_create,
        detail="schema forkyard can be created" if may_create else f"{user} may not create schema forkyard",
        fix=f'GRANT CREATE ON DATABASE "{database}" TO "{user}"',
    )


def _ownership(others: Sequence[tuple[str, str, str]], *, user: str) -> Finding:
    if not others:
        return Finding(subject="ownership", ok=True, detail=f"{user} owns all tables")
    named = ", ".join(f"{display((schema, table))} ({owner})" for schema, table, owner in others[:SHOWN])
    more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
    owners = ", ".join(f'"{owner}"' for owner in sorted({owner for _, _, owner in others}))
    return Finding(
        subject="ownership",
        ok=False,
        detail=f"{user} does not own {named}{more}",
        fix=f'merge with the owner\'s login, or GRANT {owners} TO "{user}"',
    )


def _finding(subject: str, *, ok: bool, detail: str, fix: str) -> Finding:
    return Finding(subject=subject, ok=ok, detail=detail, fix="" if ok else fix)
