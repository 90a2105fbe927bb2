"""Steps of tests on a real registry: projects, claims, leases that end when a test says so."""

from __future__ import annotations

from typing import Any

import psycopg

from orchestrator.runs import Step
from orchestrator.store import Claim, Project, Store
from orchestrator.store.connection import SCHEMA


def make_project(store: Store, name: str = "shop", **changes: Any) -> Project:
    values: dict[str, Any] = {
        "name": name,
        "provider": "clone",
        "target_conninfo": "host=127.0.0.1 dbname=shop",
        "host_conninfo": "host=127.0.0.1 dbname=postgres",
        "max_parallel": 2,
        "ttl_seconds": 3600,
        "pool_size": 0,
        "agent_connections": 2,
        "restart_interrupted": True,
        "redis_url": None,
    }
    return store.projects.save(**{**values, **changes})


def acquire(store: Store, run_id: str, continuation: str = "{}") -> bool:
    return store.runs.acquire(run_id, owner="w:1:1", continuation=continuation, dispatch_seconds=30)


def claim(store: Store, run_id: str, step: Step = Step.PROVISION, owner: str = "w:1:1") -> Claim | None:
    return store.runs.claim(run_id, step, owner=owner, host="w", lease_seconds=60)


def held_claim(store: Store, run_id: str, step: Step = Step.PROVISION, owner: str = "w:1:1") -> Claim:
    found = claim(store, run_id, step, owner)
    assert found is not None
    return found


def walk_to(store: Store, run_id: str, step: Step, owner: str = "w:1:1") -> Claim:
    """Through the pipeline up to a claim of `step`."""
    assert acquire(store, run_id)
    for earlier in list(Step)[1 : step.number - 1]:
        store.runs.commit_step(held_claim(store, run_id, earlier), earlier, dispatch_seconds=30)
    return held_claim(store, run_id, step, owner)


def execute(registry: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """One statement on the registry's own tables, behind the store's back."""
    cursor = _connection(registry).execute(statement.encode(), values or None)
    return cursor.fetchall() if cursor.description else []


_connections: dict[str, psycopg.Connection[Any]] = {}


def _connection(registry: str) -> psycopg.Connection[Any]:
    """One for the whole session: to connect costs more than what most tests have to say."""
    known = _connections.get(registry)
    if known is None or known.closed:
        known = psycopg.connect(registry, autocommit=True, options=f"-c search_path={SCHEMA}")
        _connections[registry] = known
    return known


def hang_up() -> None:
    """Close what `execute` left open."""
    for connection in _connections.values():
        connection.close()
    _connections.clear()


def expire_lease(registry: str, run_id: str) -> None:
    execute(registry, "UPDATE runs SET lease_until = now() - interval '1 s' WHERE id = %s", run_id)
