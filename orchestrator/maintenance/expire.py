"""Expire: release environments that are past their time, forgotten, or half released; finish baselines' deletion."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from orchestrator.errors import ForeignResource, ForkyardError, UserError
from orchestrator.maintenance.sweep import Finding
from orchestrator.runs import Ending, EnvironmentState, RunState
from orchestrator.secrets import redact
from orchestrator.steps.context import Context
from orchestrator.steps.environment import release
from orchestrator.steps.settle import close_marker
from orchestrator.store import Environment, Run

NAME = "expire"


def run_once(context: Context, dry_run: bool, *, older_than_seconds: int | None = None) -> Iterator[Finding]:
    sweeps = context.settings.sweeps
    age = sweeps.older_than_seconds if older_than_seconds is None else older_than_seconds
    for environment in context.store.environments.due(older_than_seconds=age, limit=sweeps.max_deletions):
        yield _release(context, environment, dry_run)
    for run in context.store.runs.held_too_long(limit=sweeps.max_deletions):
        yield _end_held_run(context, run, dry_run)
    for baseline in context.store.projects.unfinished_baselines(older_than_seconds=age, limit=sweeps.max_deletions):
        yield _release_baseline(context, baseline.id, baseline.name, baseline.state, dry_run)


def _release(context: Context, environment: Environment, dry_run: bool) -> Finding:
    reason = _reason(environment)
    action = "would release"
    if not dry_run:
        try:
            # The list may be minutes old: a worker may have come back to the run since.
            action = "released" if release(context, environment, reason=reason, idle=True) else "left (see the log)"
        except ForeignResource as exc:  # one that is not ours must not keep the sweep from those that are
            action = f"left: {redact(str(exc))}"
    return Finding(sweep=NAME, kind="environment", name=environment.name, action=action, reason=reason)


def _reason(environment: Environment) -> str:
    if environment.state is EnvironmentState.RELEASING:
        return "its release was not finished"
    if environment.expires_at < datetime.now(UTC):
        return f"expired at {environment.expires_at:%Y-%m-%d %H:%M} UTC"
    return "nothing needs it any more"


def _end_held_run(context: Context, run: Run, dry_run: bool) -> Finding:
    """A held run waits for a person until its time to live is over, not for ever."""
    ending, action = Ending.discarded("nobody decided before it expired"), "would end"
    if not dry_run:
        try:
            # An earlier attempt to merge may still be on its way: after this it can no longer commit.
            ending = close_marker(context, context.store.projects.by_id(run.project_id), run.id) or ending
            context.publish(context.store.runs.finish(run.id, ending, seen=RunState.HELD))
            action = f"ended as {ending.to}"
        except UserError as exc:
            action = f"left: {redact(str(exc))}"
    return Finding(sweep=NAME, kind="run", name=run.id, action=action, reason="nobody decided before it expired")


def _release_baseline(context: Context, baseline_id: int, name: str, state: str, dry_run: bool) -> Finding:
    action = "would release"
    if not dry_run:
        action = "released" if destroy_baseline(context, baseline_id, reason=f"it was {state}") else "left (in use)"
    return Finding(sweep=NAME, kind="baseline", name=name, action=action, reason=f"its making ended as {state}")


def destroy_baseline(context: Context, baseline_id: int, *, reason: str) -> bool:
    """Remove a baseline that nothing needs; False while something does, or when the provider fails."""
    taken = context.store.projects.take_baseline_for_release(baseline_id, reason=reason)
    if taken is None:
        return False
    project = context.store.projects.by_id(taken.project_id)
    try:
        context.provider(project).destroy_baseline(taken.name)
    except ForkyardError as exc:
        context.store.sweeps.record(
            NAME,
            started_at=context.store.sweeps.now(),
            outcome=f"baseline {taken.name}: {redact(str(exc))}",
            findings=[],
        )
        return False
    context.store.projects.baseline_released(baseline_id)
    return True
