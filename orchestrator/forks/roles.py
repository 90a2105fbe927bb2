"""Who may do what with forks: three kinds of roles, none of which owns a database.

- the **owner** `fy_<installation>_owner` (NOLOGIN) owns every object in baselines and forks;
- the **reader** `fy_<installation>_reader` looks at baselines and at forks that are not open yet;
- one **fork role** per fork, of the fork's name, may `SET ROLE` to the owner (and does so at login) without
  inheriting from it, and may connect to its own fork alone.

Granting the application's own role instead would let an agent drop the target from inside its fork.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import errors as pg
from psycopg import sql

from orchestrator.forks.host import existing
from orchestrator.forks.names import short_installation


def owner_role(installation: str) -> str:
    """The neutral role that owns all objects in baselines and forks of an installation."""
    return f"fy_{short_installation(installation)}_owner"


def reader_role(installation: str) -> str:
    """The read-only login of an installation."""
    return f"fy_{short_installation(installation)}_reader"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a fork's role may log in. `valid_until` None means without end."""

    verifier: str
    connection_limit: int
    valid_until: datetime | None


def verifier(conn: psycopg.Connection, role: str, password: str) -> str:
    """The SCRAM verifier that the server keeps: the password itself appears in no statement and no log."""
    return conn.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()


def ensure_shared_roles(conn: psycopg.Connection, installation: str, reader_password: str) -> None:
    """Make the owner and the reader of an installation, or set them right; idempotent."""
    owner, reader = owner_role(installation), reader_role(installation)
    if existing(conn, owner).role_oid is None:
        conn.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(owner)))
    if existing(conn, reader).role_oid is None:
        conn.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(reader)))
    conn.execute(
        sql.SQL(
            "ALTER ROLE {owner} NOLOGIN;"
            " ALTER ROLE {reader} LOGIN PASSWORD {verifier};"
            " ALTER ROLE {reader} SET default_transaction_read_only = on;"
            " GRANT {owner} TO {reader} WITH INHERIT TRUE, SET FALSE, ADMIN FALSE"
        ).format(
            owner=sql.Identifier(owner),
            reader=sql.Identifier(reader),
            verifier=sql.Literal(verifier(conn, reader, reader_password)),
        )
    )


def drop_unused_roles(conn: psycopg.Connection, installation: str) -> None:
    """Remove the owner and the reader where no baseline and no fork needs them any more."""
    with suppress(pg.DependentObjectsStillExist):
        conn.execute(
            sql.SQL("DROP ROLE IF EXISTS {}, {}").format(
                sql.Identifier(reader_role(installation)), sql.Identifier(owner_role(installation))
            )
        )


def fork_access(name: str, *, owner: str, access: Access, exists: bool) -> sql.Composed:
    """Statements (one transaction) that give a fork's role exactly its rights, whatever it had before.

    An agent may change its own password and settings and drop its own rights; all that is set right again.
    """
    return sql.SQL(
        "{create};"
        " ALTER ROLE {role} NOINHERIT LOGIN PASSWORD {verifier} CONNECTION LIMIT {limit} VALID UNTIL {until};"
        " ALTER ROLE {role} RESET ALL;"
        " ALTER ROLE {role} IN DATABASE {role} RESET ALL;"
        " ALTER ROLE {role} IN DATABASE {role} SET role = {owner};"
        " GRANT {owner} TO {role} WITH INHERIT FALSE, SET TRUE, ADMIN FALSE;"
        " GRANT CONNECT ON DATABASE {role} TO {role};"
        " GRANT CREATE, TEMPORARY ON DATABASE {role} TO {owner}"
    ).format(
        create=sql.SQL("SELECT 1") if exists else sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)),
        role=sql.Identifier(name),
        owner=sql.Identifier(owner),
        verifier=sql.Literal(access.verifier),
        limit=sql.Literal(access.connection_limit),
        until=sql.Literal(access.valid_until.isoformat() if access.valid_until else "infinity"),
    )


def private_database(name: str, *, reader: str | None) -> sql.Composed:
    """Statements that take a new database from everybody, and let the installation's reader in where one is named."""
    revoke = sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name))
    if reader is None:
        return sql.Composed([revoke])
    grant = sql.SQL("; GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(name), sql.Identifier(reader))
    return revoke + grant
