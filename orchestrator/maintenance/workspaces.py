"""Workspaces: folders on this host whose agent was killed together with its worker."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.agents.process import end_leftovers
from orchestrator.isolation import workspace
from orchestrator.maintenance.sweep import Finding
from orchestrator.runs import RunState
from orchestrator.settings import workspace_root
from orchestrator.steps.context import Context
from orchestrator.store import Environment

NAME = "workspaces"


def run_once(context: Context, dry_run: bool) -> Iterator[Finding]:
    root = workspace_root(context.settings)
    names = workspace.names(root)
    known = context.store.environments.by_name([environment_name(name) for name in names])
    for name in names:
        environment = known.get(environment_name(name))
        if environment is not None and _in_use(context, environment):
            continue
        if not dry_run:
            _remove(context, name, environment)
        yield Finding(
            sweep=NAME,
            kind="folder",
            name=name,
            action="would remove" if dry_run else "removed",
            reason="no agent works in it",
        )
    yield from _forgotten(context, dry_run)


def _forgotten(context: Context, dry_run: bool) -> Iterator[Finding]:
    """Folders that are gone without the registry knowing: it was away when they were removed."""
    root = workspace_root(context.settings)
    prefix, limit = f"{context.host}:{root}/", context.settings.sweeps.max_deletions
    for environment, resource in context.store.environments.still_listed("folder", prefix=prefix, limit=limit):
        if workspace.present(root, environment.name) or _in_use(context, environment):
            continue
        if not dry_run:
            context.store.environments.gone(environment.id, [("folder", resource)])
        action = "would be noted as gone" if dry_run else "noted as gone"
        reason = "the registry was away when it was removed"
        yield Finding(sweep=NAME, kind="folder", name=environment.name, action=action, reason=reason)


def environment_name(folder: str) -> str:
    """A workspace is named as its environment, its log's folder with `_log` behind."""
    return folder.removesuffix("_log")


def _in_use(context: Context, environment: Environment) -> bool:
    if environment.run_id is None:
        return False
    run = context.store.runs.get(environment.run_id)
    current = context.store.environments.current(run.id)
    return run.state is RunState.RUNNING and current is not None and current.id == environment.id


def _remove(context: Context, name: str, environment: Environment | None) -> None:
    root = workspace_root(context.settings)
    if environment is not None and environment.run_id is not None:
        end_leftovers(environment.run_id, None, workspace=root / name)
    workspace.destroy(root, name)
    if environment is not None and not workspace.present(root, name):
        context.store.environments.gone(environment.id, [("folder", f"{context.host}:{root / name}")])
