"""A private fork host, where passwords and privileges count, and one installation's `clone` provider on it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import psycopg
import pytest
from psycopg import sql

from orchestrator.forks.base import Stamp
from orchestrator.forks.clone import CloneProvider
from orchestrator.forks.names import parse_name, resource_name
from orchestrator.testing.fork_host import ForkHost, private_fork_host

_IDS = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Yard:
    """One installation on the private host."""

    host: ForkHost
    provider: CloneProvider
    installation: str
    scratch: Path

    def name(self, kind: Literal["baseline", "fork"]) -> str:
        return resource_name(self.installation, kind, next(_IDS))

    def stamp(self, name: str) -> Stamp:
        parsed = parse_name(name)
        assert parsed is not None
        return Stamp(
            installation=self.installation,
            project="shop",
            kind=parsed.kind,
            resource_id=parsed.resource_id,
            expires_at=datetime.now(UTC) + timedelta(hours=1) if parsed.kind == "fork" else None,
        )

    def baseline(self, source: str) -> str:
        name = self.name("baseline")
        self.provider.create_baseline(name, source=source, stamp=self.stamp(name))
        return name

    def fork(self, baseline: str, *, opened: bool = True) -> str:
        name = self.name("fork")
        self.provider.create(name, baseline=baseline, stamp=self.stamp(name))
        if opened:
            self.provider.open(name, stamp=self.stamp(name))
        return name

    def left_baselines(self) -> set[str]:
        return {name for name in self.left() if name[12:13] == "b"}

    def left(self) -> set[str]:
        with psycopg.connect(self.host.superuser) as conn:
            rows = conn.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %(p)s)"
                " UNION SELECT rolname FROM pg_roles WHERE starts_with(rolname, %(p)s)",
                {"p": resource_name(self.installation, "fork", 1)[:12]},
            )
            return {name for (name,) in rows}


@pytest.fixture(scope="session")
def fork_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkHost]:
    folder = tmp_path_factory.mktemp("fork-host")
    with private_fork_host(folder / "stack", {"max_prepared_transactions": "10"}) as host:
        yield host


@pytest.fixture
def yard(fork_host: ForkHost, tmp_path: Path) -> Iterator[Yard]:
    """A new installation."""
    with new_yard(fork_host, tmp_path / "scratch") as yard:
        yield yard


@contextmanager
def new_yard(fork_host: ForkHost, scratch: Path) -> Iterator[Yard]:
    """A new installation; whatever it leaves is removed by force."""
    installation = str(uuid.uuid4())
    provider = CloneProvider(fork_host.login, installation=installation, key=b"test", scratch_dir=scratch)
    yard = Yard(host=fork_host, provider=provider, installation=installation, scratch=scratch)
    yield yard
    for found in sorted(provider.list(), key=lambda found: found.kind, reverse=True):
        if found.kind == "fork":
            provider.destroy(found.name)
        else:
            provider.destroy_baseline(found.name)
    with psycopg.connect(fork_host.superuser, autocommit=True) as conn:
        for name in sorted(yard.left()):
            conn.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


@pytest.fixture
def target(fork_host: ForkHost) -> Iterator[Callable[..., str]]:
    with new_targets(fork_host) as make:
        yield make


@contextmanager
def new_targets(fork_host: ForkHost) -> Iterator[Callable[..., str]]:
    """A factory of targets: `target("CREATE TABLE …", "options of CREATE DATABASE")` gives a superuser's URL."""
    made: list[str] = []

    def make(script: str = "", options: str = "") -> str:
        name = f"target_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(fork_host.superuser, autocommit=True) as conn:
            conn.execute(sql.SQL("CREATE DATABASE {} " + options).format(sql.Identifier(name)))
        made.append(name)
        url = fork_host.url(name)
        if script:
            with psycopg.connect(url, autocommit=True) as conn:
                conn.execute(script)
        return url

    yield make
    with psycopg.connect(fork_host.superuser, autocommit=True) as conn:
        for name in made:
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def login(fork_host: ForkHost) -> Iterator[Callable[..., str]]:
    """A factory of logins: `login("CREATEDB")` gives its name; the password is the name."""
    made: list[str] = []

    def make(attributes: str = "") -> str:
        name = f"login_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(fork_host.superuser, autocommit=True) as conn:
            conn.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} " + attributes).format(
                    sql.Identifier(name), sql.Literal(name)
                )
            )
        made.append(name)
        return name

    yield make
    with psycopg.connect(fork_host.superuser, autocommit=True) as conn:
        for name in made:
            for (database,) in conn.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall():
                with psycopg.connect(fork_host.url(database), autocommit=True) as inside:
                    inside.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))
            conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
