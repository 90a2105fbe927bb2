"""Pool: keep ready forks of each project's newest baseline at hand, and drop those of older ones."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.errors import ProviderError, UserError
from orchestrator.maintenance.sweep import Finding
from orchestrator.secrets import redact
from orchestrator.steps.context import Context
from orchestrator.steps.environment import provide_for_pool, release

NAME = "pool"


def run_once(context: Context, dry_run: bool) -> Iterator[Finding]:
    for environment in context.store.environments.stale_pool():
        reason = "its baseline is no longer the newest"
        action = "would release"
        if not dry_run:
            done = release(context, environment, reason=reason, pooled=True)
            action = "released" if done else "left (taken, or see the log)"
        yield Finding(sweep=NAME, kind="environment", name=environment.name, action=action, reason=reason)
    for row in context.store.environments.pool_sizes():
        missing = max(0, row["pool_size"] - row["present"])
        for _ in range(missing):
            name = row["project"]
            if not dry_run:
                project = context.store.projects.by_id(row["project_id"])
                baseline = context.store.projects.baseline(row["baseline_id"])
                try:
                    name = provide_for_pool(context, project, baseline).name
                except (ProviderError, UserError) as exc:  # one project's host must not keep the others' pools empty
                    reason = redact(str(exc))
                    yield Finding(sweep=NAME, kind="environment", name=name, action="failed", reason=reason)
                    break
            action = "would make" if dry_run else "made"
            yield Finding(sweep=NAME, kind="environment", name=name, action=action, reason="the pool is not full")
