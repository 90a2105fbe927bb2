"""A person's decisions: promote, discard, cancel."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.errors import NotPossible
from orchestrator.runs import RESTING, Ending, EnvironmentState, RunState
from orchestrator.steps.context import Context
from orchestrator.steps.environment import release
from orchestrator.steps.settle import close_marker
from orchestrator.store import Environment, ExperimentRow, Run


def promote(context: Context, run_id: str, *, reason: str = "a person promoted it") -> None:
    """Send a held run or a candidate to be merged. Raises NotPossible for a run in any other state."""
    run = context.store.runs.get(run_id)
    dispatch_seconds = context.settings.worker.dispatch_seconds
    if not context.store.runs.begin_promotion(run.id, reason=reason, dispatch_seconds=dispatch_seconds):
        raise NotPossible(f"Run {run.id} is {run.state}: only held runs and candidates can be promoted.")
    context.send_promoted(run.id)


def discard(context: Context, run_id: str, *, reason: str = "a person discarded it") -> Run:
    """End a held run or a candidate without merging it, and release its fork; of a failed one, the fork it kept."""
    run = context.store.runs.get(run_id)
    if run.state is RunState.FAILED and _kept(context, run):
        _release_all(context, run, reason)
        return run
    if run.state not in RESTING:
        raise NotPossible(f"Run {run.id} is {run.state}: only held runs, candidates and kept forks can be discarded.")
    _end(context, run, run.state, Ending.discarded(reason))
    return context.store.runs.get(run_id)


def cancel(context: Context, run_id: str) -> Run:
    """End a run as soon as it can: at once where nothing runs, else when its step next looks. Idempotent."""
    run = context.store.runs.get(run_id)
    if run.finished:
        raise NotPossible(f"Run {run.id} is {run.state} already.")
    state = context.store.runs.request_cancel(run.id)
    if state is not None and state in RESTING:
        _end(context, run, state, Ending.cancelled())
    elif state is not None and run.owner is None and run.verdict is None:
        # Nobody works on it: it is parked, or its message is under way and will find it ended.
        finished = context.store.runs.finish(run.id, Ending.cancelled(), only_idle=True)
        context.publish(finished, run.id)
        if finished is not None:
            _release_all(context, run, "the run is cancelled")
    return context.store.runs.get(run_id)


def cancel_experiment(context: Context, experiment: ExperimentRow) -> list[Run]:
    """Cancel every run that is not finished. Idempotent."""
    context.store.experiments.request_cancel(experiment.id)
    open_runs = [run for run in context.store.runs.of_experiment(experiment.id) if not run.finished]
    return [_quietly(cancel, context, run.id) for run in open_runs]


def _quietly(act: Callable[[Context, str], Run], context: Context, run_id: str) -> Run:
    try:
        return act(context, run_id)
    except NotPossible:  # it ended in the meantime
        return context.store.runs.get(run_id)


def _end(context: Context, run: Run, state: RunState, ending: Ending) -> None:
    if state is RunState.HELD:
        # An earlier attempt to merge may still be on its way: after this it can no longer commit.
        ending = close_marker(context, context.store.projects.by_id(run.project_id), run.id) or ending
    finished = context.store.runs.finish(run.id, ending, seen=state)
    if finished is None:
        raise NotPossible(f"Run {run.id} is no longer {state}: somebody else decided at the same moment.")
    context.publish(finished)
    _release_all(context, run, ending.reason)


def _kept(context: Context, run: Run) -> list[Environment]:
    environments = context.store.environments.of_run(run.id)
    return [one for one in environments if one.kept and one.state is EnvironmentState.READY]


def _release_all(context: Context, run: Run, reason: str) -> None:
    for environment in context.store.environments.of_run(run.id):
        if environment.state.value in ("creating", "ready"):
            release(context, environment, reason=reason)
