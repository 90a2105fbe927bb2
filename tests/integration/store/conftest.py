"""A registry of its own for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.store import ExperimentRow, Project, Store, upgrade


@pytest.fixture
def registry(fresh_database: Callable[..., str]) -> str:
    conninfo = fresh_database("registry")
    upgrade(conninfo)
    return conninfo


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


def make_project(store: Store, name: str = "shop", max_parallel: int = 2) -> Project:
    return store.projects.save(
        name=name,
        provider="clone",
        target_conninfo="host=127.0.0.1 dbname=shop",
        host_conninfo="host=127.0.0.1 dbname=postgres",
        max_parallel=max_parallel,
        ttl_seconds=3600,
        pool_size=0,
        agent_connections=2,
        restart_interrupted=True,
        redis_url=None,
    )
