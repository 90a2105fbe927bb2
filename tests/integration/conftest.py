"""What tests on a registry share: an empty one for every test, and a small installation around it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from orchestrator.store import ExperimentRow, Project, Store, upgrade
from tests.conftest import url_for
from tests.registry import execute, hang_up, make_project
from tests.world import World

_EMPTY = """
DELETE FROM events; DELETE FROM step_attempts; DELETE FROM migrations; DELETE FROM measurements; DELETE FROM checks;
DELETE FROM environments; DELETE FROM runs; DELETE FROM experiments; DELETE FROM baselines; DELETE FROM projects;
DELETE FROM artifacts; DELETE FROM sweeps; DELETE FROM installation;
INSERT INTO installation DEFAULT VALUES;
"""


@pytest.fixture(scope="session")
def databases(admin_url: str) -> Iterator[Callable[[str], str]]:
    """A factory of databases that last for the whole session: `databases("registry")` gives a URL."""
    made: list[str] = []

    def create(prefix: str) -> str:
        name = f"{prefix}_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        made.append(name)
        return url_for(admin_url, dbname=name)

    yield create
    with psycopg.connect(admin_url, autocommit=True) as admin:
        for name in made:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def registry_database(databases: Callable[[str], str]) -> Iterator[str]:
    conninfo = databases("registry")
    upgrade(conninfo)
    yield conninfo
    hang_up()


@pytest.fixture(scope="session")
def empty_database(databases: Callable[[str], str]) -> str:
    """A database that tests look at, as a fork or a target; they must leave it as it is: without any table."""
    return databases("empty")


@pytest.fixture
def registry(registry_database: str) -> str:
    """An empty registry with a new installation's id. To empty it takes a fifth of the time that making one takes."""
    execute(registry_database, _EMPTY)
    return registry_database


@pytest.fixture
def store(registry: str) -> Iterator[Store]:
    opened = Store(registry)
    yield opened
    opened.close()


@pytest.fixture
def project(store: Store) -> Project:
    return make_project(store)


@pytest.fixture
def batch(store: Store, project: Project) -> Callable[..., tuple[ExperimentRow, list[str]]]:
    """`batch(runs=4, parallel=2)` records an experiment on a sealed baseline and gives it with its run ids."""

    def make(*, runs: int = 4, parallel: int = 4, name: str = "clean", promote: str = "best") -> Any:
        baseline = store.projects.intend_baseline(project.id, label=None, prefix="fy_00000000_b")
        baseline = store.projects.seal_baseline(baseline.id, fingerprint="sha256:b", target_fingerprint="sha256:t")
        return store.experiments.create(
            name=name,
            spec={},
            files={},
            runs=[("careful", repeat, repeat) for repeat in range(1, runs + 1)],
            dispatch_seconds=30,
            project_id=project.id,
            baseline_id=baseline.id,
            promote=promote,
            parallel=parallel,
        )

    return make


@pytest.fixture
def world(registry: str, empty_database: str, tmp_path: Path) -> Iterator[World]:
    """A project with forks in memory, and messages that the test delivers itself."""
    made = World(registry, empty_database, tmp_path)
    yield made
    made.close()
