"""One private server for the conformance suite: it needs passwords that count."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator

import psycopg
import pytest

from orchestrator.errors import StackError
from orchestrator.forks import open_provider
from orchestrator.testing.fork_host import ForkHost, private_fork_host
from orchestrator.testing.postgres_lab import PostgresLab


@pytest.fixture(scope="session")
def fork_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkHost]:
    if sys.platform != "linux" and "CI" not in os.environ:
        pytest.skip("the embedded stack runs on Linux only")
    try:
        with private_fork_host(tmp_path_factory.mktemp("fork-host") / "stack") as host:
            yield host
    except StackError as exc:
        pytest.fail(str(exc))


@pytest.fixture(scope="session")
def clone_lab(fork_host: ForkHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresLab]:
    with psycopg.connect(fork_host.superuser, autocommit=True) as conn:
        conn.execute("CREATE DATABASE shop")
    ours, theirs = str(uuid.uuid4()), str(uuid.uuid4())
    providers = [
        open_provider(
            "clone",
            host_conninfo=fork_host.login,
            installation=installation,
            key=installation.encode(),
            scratch_dir=tmp_path_factory.mktemp("scratch"),
        )
        for installation in (ours, theirs)
    ]
    lab = PostgresLab(
        providers[0],
        installation=ours,
        neighbour=providers[1],
        neighbour_id=theirs,
        superuser=fork_host.superuser,
        target="shop",
    )
    yield lab
    lab.clear()
