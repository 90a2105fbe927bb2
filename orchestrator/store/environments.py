"""Environments in the registry: intent before act, and what was seen gone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.errors import IllegalTransition
from orchestrator.store.connection import Table
from orchestrator.store.records import Environment

Named = tuple[str, str]
"""A resource as (kind, name)."""


class Environments(Table):
    file = "environments"

    def intend(
        self, *, prefix: str, purpose: str, project_id: int, baseline_id: int, run_id: str | None, ttl_seconds: float
    ) -> Environment:
        """Record that a fork is about to be made; its name is `prefix` and the new row's id."""
        row = self._one(
            "insert",
            prefix=prefix,
            purpose=purpose,
            project_id=project_id,
            baseline_id=baseline_id,
            run_id=run_id,
            ttl_seconds=ttl_seconds,
        )
        if row is None:
            raise IllegalTransition("The registry did not record the environment.")
        return Environment.of(row)

    def add_resources(self, environment_id: int, resources: Iterable[Named]) -> None:
        pairs = list(resources)
        self._all(
            "add_resources", environment_id=environment_id, kinds=[k for k, _ in pairs], names=[n for _, n in pairs]
        )

    def of_run(self, run_id: str) -> list[Environment]:
        return [Environment.of(row) for row in self._all("of_run", run_id=run_id)]

    def current(self, run_id: str) -> Environment | None:
        """The environment that the run works in, if it has one that is not being released."""
        row = self._one("current", run_id=run_id)
        return None if row is None else Environment.of(row)

    def by_name(self, names: Sequence[str]) -> dict[str, Environment]:
        return {row["name"]: Environment.of(row) for row in self._all("by_name", names=list(names))}

    def ready(self, environment_id: int) -> bool:
        return self._one("ready", environment_id=environment_id) is not None

    def take_from_pool(self, *, run_id: str, baseline_id: int, ttl_seconds: float) -> Environment | None:
        """Hand a ready fork to a run, never the same one twice; None if the pool is empty."""
        row = self._one("take_from_pool", run_id=run_id, baseline_id=baseline_id, ttl_seconds=ttl_seconds)
        return None if row is None else Environment.of(row)

    def pool_sizes(self) -> list[dict[str, Any]]:
        """Per project with a baseline: project_id, project, pool_size, baseline_id, present."""
        return self._all("pool_sizes")

    def stale_pool(self) -> list[Environment]:
        return [Environment.of(row) for row in self._all("stale_pool")]

    def take_for_release(
        self, environment_id: int, *, reason: str, pooled: bool = False, idle: bool = False
    ) -> Environment | None:
        """Mark as releasing; None if it is already. With `pooled`, only while no run has taken it; with `idle`, only
        while no worker is at work on its run."""
        block = "unpool" if pooled else "take_if_idle" if idle else "take_for_release"
        row = self._one(block, environment_id=environment_id, reason=reason)
        return None if row is None else Environment.of(row)

    def keep(self, environment_id: int, *, reason: str) -> bool:
        """Leave the fork for a person to look at, until it expires."""
        return self._one("keep", environment_id=environment_id, reason=reason) is not None

    def released(self, environment_id: int) -> bool:
        return self._one("released", environment_id=environment_id) is not None

    def gone(self, environment_id: int, resources: Iterable[Named]) -> None:
        """Note when each resource was seen gone (the first time counts)."""
        pairs = list(resources)
        self._all("gone", environment_id=environment_id, kinds=[k for k, _ in pairs], names=[n for _, n in pairs])

    def still_listed(self, kind: str, *, prefix: str, limit: int) -> list[tuple[Environment, str]]:
        """Resources of a kind, by the start of their names, that nobody has seen gone; each with its environment."""
        rows = self._all("still_listed", kind=kind, prefix=prefix, limit=limit)
        return [(Environment.of(row), row["resource"]) for row in rows]

    def due(self, *, older_than_seconds: int, limit: int) -> list[Environment]:
        """What a sweep should release now: expired, forgotten or half released."""
        return [Environment.of(r) for r in self._all("due", older_than_seconds=older_than_seconds, limit=limit)]

    def open(self, project_id: int | None = None) -> list[dict[str, Any]]:
        """Every environment that is not released, with its run's state."""
        return self._all("open", project_id=project_id)

    def lost(self, environment_id: int, *, reason: str) -> bool:
        return self._one("lost", environment_id=environment_id, reason=reason) is not None

    def receipt(self, run_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Each resource of these runs: run_id, environment, purpose, state, kept, kind, name, intended_at, gone_at."""
        return self._all("receipt", run_ids=list(run_ids))
