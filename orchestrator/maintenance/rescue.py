"""Rescue: runs whose worker died or whose message was lost go on where they stopped, or end after k tries."""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from orchestrator.agents.process import end_leftovers
from orchestrator.errors import ForkyardError, QueueUnavailable, RegistryUnavailable
from orchestrator.maintenance.sweep import Finding
from orchestrator.runs import RESTING, Ending, EnvironmentState, RunState
from orchestrator.secrets import redact
from orchestrator.settings import workspace_root
from orchestrator.steps.context import Context
from orchestrator.steps.environment import release
from orchestrator.steps.identity import is_dead
from orchestrator.steps.settle import close_marker
from orchestrator.store import Run

NAME = "rescue"
LIMIT = 200
MAX_DELAY_SECONDS = 600

log = structlog.get_logger(__name__)


def run_once(context: Context, dry_run: bool) -> Iterator[Finding]:
    for run in context.store.runs.overdue(limit=LIMIT):
        action = "would be sent on" if dry_run else _rescued(context, run)
        why = "its worker stopped answering" if run.owner else "its message did not arrive"
        yield Finding(sweep=NAME, kind="run", name=run.id, action=action, reason=why)
    if dry_run:
        return
    context.send_woken(context.store.runs.wake(dispatch_seconds=context.settings.worker.dispatch_seconds))
    for experiment_id in context.store.experiments.unsummarised(limit=LIMIT):
        context.dispatcher.summarise(experiment_id)
        yield Finding(
            sweep=NAME, kind="experiment", name=str(experiment_id), action="summary sent", reason="its runs have ended"
        )


def _rescued(context: Context, run: Run) -> str:
    """One run's trouble must not keep the sweep from the others, pass after pass."""
    try:
        return rescue(context, run)
    except (RegistryUnavailable, QueueUnavailable):
        raise
    except Exception as exc:
        log.exception("a run cannot be rescued", run=run.id)
        return f"left: {redact(str(exc))}"


def cleanup(context: Context, run_id: str) -> None:
    """What the task queue calls when a step's task died: go on at once instead of waiting for the lease.

    May be called twice, late, or for a run that another worker has taken over; then it does nothing.
    """
    run = context.store.runs.get(run_id)
    if run.finished or run.state in RESTING:
        return
    if run.owner is None:
        # The task failed without a claim (bad message, registry away); the chain stops here, so send it on.
        rescue(context, run, force=True)
    elif is_dead(run.owner):
        rescue(context, run, force=True)


def rescue(context: Context, run: Run, *, force: bool = False) -> str:
    """Send the run on, or end it; what was done, in words."""
    worker = context.settings.worker
    environment = context.store.environments.current(run.id)
    delay = min(MAX_DELAY_SECONDS, worker.dispatch_seconds * 2**run.rescues)
    # Before anything is ended: what was read may be old, and a run that came back keeps its agent and its forks.
    if not context.store.runs.postpone(run, delay_seconds=delay, force=force):
        return "left: it came back"
    if run.process_group is not None and run.host == context.host:
        folder = workspace_root(context.settings) / environment.name if environment is not None else None
        end_leftovers(run.id, run.process_group, workspace=folder)
    if run.step_tries >= worker.max_step_tries:
        return give_up(context, run, f"its step failed {run.step_tries} times; the last worker died")
    context.store.runs.add_event(run.id, "rescue", f"sent on after step {run.steps_done}")
    context.dispatcher.resume(run.id, run.continuation, steps_done=run.steps_done)
    return "sent on"


def give_up(context: Context, run: Run, reason: str) -> str:
    """End the run as failed, unless its merge had been committed; release what it holds."""
    ending = Ending.failed(reason)
    try:
        if run.state is RunState.SETTLING:
            ending = close_marker(context, context.store.projects.by_id(run.project_id), run.id) or ending
    except ForkyardError as exc:
        log.warning("cannot end the run yet", run=run.id, error=redact(str(exc)))
        return "left: the target does not answer"
    dispatch_seconds = context.settings.worker.dispatch_seconds
    finished = context.store.runs.finish(run.id, ending, seen=run.state, dispatch_seconds=dispatch_seconds)
    if finished is None:
        return "left: it came back"
    for environment in context.store.environments.of_run(run.id):
        if environment.state is not EnvironmentState.RELEASED:
            release(context, environment, reason=f"the run is {ending.to}")
    context.publish(finished, run.id)
    return f"ended as {ending.to}"
