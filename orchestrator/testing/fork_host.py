"""A private fork host for tests and benchmarks: an embedded Postgres with passwords and the boundary that we advise."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from orchestrator.devstack.stack import Stack

_BOUNDARY = (
    'host sameuser "/^fy_[0-9a-f]{8}_f[0-9]+$" all scram-sha-256\nhost all "/^fy_[0-9a-f]{8}_f[0-9]+$" all reject\n'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkHost:
    """`superuser`: its URL. `login`: the URL of a login with CREATEDB and CREATEROLE and nothing else."""

    superuser: str
    login: str
    data_dir: Path
    log_dir: Path

    def url(self, database: str, *, login: bool = False) -> str:
        head, _, _ = (self.login if login else self.superuser).rpartition("/")
        return f"{head}/{database}"


@contextmanager
def private_fork_host(
    state_dir: Path, settings: Mapping[str, str] | None = None, *, disposable: bool = True
) -> Iterator[ForkHost]:
    """A server below `state_dir` that goes with the block and with this process.

    `settings`: by ALTER SYSTEM. `disposable`: without fsync, which a benchmark must not do.
    """
    stack = Stack(state_dir, disposable=disposable)
    try:
        stack.up(bound_to_caller=True)
        if settings:
            with psycopg.connect(stack.postgres_url(), autocommit=True) as conn:
                for name, value in settings.items():
                    conn.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
            stack.down()
            stack.up(bound_to_caller=True)
        data_dir = stack.status().data_dir / "postgres"
        hba = data_dir / "pg_hba.conf"
        hba.write_text(_BOUNDARY + hba.read_text(encoding="utf-8"), encoding="utf-8")
        superuser, password = stack.postgres_url(), secrets.token_urlsafe()
        with psycopg.connect(superuser, autocommit=True) as conn:
            conn.execute("SELECT pg_reload_conf()")
            conn.execute(
                sql.SQL("CREATE ROLE fork_host LOGIN CREATEDB CREATEROLE PASSWORD {}").format(sql.Literal(password))
            )
        parts = conninfo_to_dict(superuser)
        login = f"postgresql://fork_host:{password}@{parts['host']}:{parts['port']}/postgres"
        yield ForkHost(superuser=superuser, login=login, data_dir=data_dir, log_dir=stack.state_dir / "logs")
    finally:
        stack.down(destroy=True)
