"""Shared fixtures: a real Postgres 18 and a real Valkey, from the embedded stack or from the servers named by
FORKYARD_TEST_POSTGRES_URL and FORKYARD_TEST_VALKEY_URL."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from orchestrator.devstack import Stack
from orchestrator.errors import StackError


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """An embedded Postgres and Valkey of this test session alone; they end with it, even when it is killed."""
    folder = Path(tempfile.mkdtemp(prefix="forkyard-tests-"))
    # Run by root, the servers drop to another account, which must be able to pass.
    folder.chmod(0o711)
    embedded = Stack(folder / "stack", disposable=True)
    try:
        embedded.up(bound_to_caller=True)
    except StackError as exc:
        shutil.rmtree(folder, ignore_errors=True)
        service_missing(str(exc))
    yield embedded
    embedded.down(destroy=True)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def admin_url(request: pytest.FixtureRequest) -> str:
    """A superuser's URL for the maintenance database of a Postgres 18 that tests may fill and empty."""
    given = os.environ.get("FORKYARD_TEST_POSTGRES_URL")
    return given or request.getfixturevalue("stack").postgres_url()


@pytest.fixture(scope="session")
def valkey_url(request: pytest.FixtureRequest) -> str:
    """The URL of a Valkey 9.1, as a user who may do all, database 0."""
    given = os.environ.get("FORKYARD_TEST_VALKEY_URL")
    return given or request.getfixturevalue("stack").valkey_url()


@pytest.fixture
def fresh_database(admin_url: str) -> Iterator[Callable[..., str]]:
    """A factory of empty databases: `fresh_database()` gives a superuser's URL; all are dropped afterwards."""
    made: list[str] = []

    def create(prefix: str = "t") -> str:
        name = f"{prefix}_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        made.append(name)
        return url_for(admin_url, dbname=name)

    yield create
    with psycopg.connect(admin_url, autocommit=True) as admin:
        for name in made:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def url_for(conninfo: str, **changes: str) -> str:
    """The same server as `conninfo`, with some parts changed."""
    return psycopg.conninfo.make_conninfo("", **{**conninfo_to_dict(conninfo), **changes})


def service_missing(what: str) -> NoReturn:
    """Skip on a laptop, fail in CI: nothing may go untested there unnoticed."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(what)
    pytest.skip(what)
