"""The batch's summary: choose the best candidate and send it to be merged; when nothing is open, close the batch.

May run at any time and any number of times: it acts only when no run is live, and one at a time.
"""

from __future__ import annotations

import json

from orchestrator.experiments.compare import RunResult, best
from orchestrator.experiments.spec import Experiment
from orchestrator.runs import Ending, RunState
from orchestrator.steps.context import Context
from orchestrator.steps.results import results_of
from orchestrator.store import ExperimentRow, Run


def summarise(context: Context, experiment_id: int) -> None:
    """Take the batch one step further: choose, or finish. Idempotent."""
    experiment = context.store.experiments.claim_summary(experiment_id)
    if experiment is None:
        return
    try:
        _advance(context, experiment)
    finally:
        context.store.experiments.release_summary(experiment_id)


def _advance(context: Context, experiment: ExperimentRow) -> None:
    runs = context.store.runs.of_experiment(experiment.id)
    candidates = [run for run in runs if run.state is RunState.CANDIDATE]
    if not candidates:
        context.store.experiments.finish(experiment.id, summary=experiment.summary or _totals(runs))
        return
    if experiment.cancel_requested_at is not None:
        _end_all(context, candidates, Ending.cancelled())
        return
    chosen, why = experiment.best_run, experiment.summary or ""
    if chosen is None:
        chosen, why = _choose(context, experiment, runs)
    others = [run for run in candidates if run.id != chosen]
    if chosen is None:
        _end_all(context, candidates, Ending.discarded(f"no run could be chosen: {why}"))
        return
    _end_all(context, others, Ending.discarded(f"not the best: {chosen} is"))
    dispatch_seconds = context.settings.worker.dispatch_seconds
    if context.store.runs.begin_promotion(chosen, reason=f"the best run: {why}", dispatch_seconds=dispatch_seconds):
        context.send_promoted(chosen)


def _choose(context: Context, experiment: ExperimentRow, runs: list[Run]) -> tuple[str | None, str]:
    spec = Experiment.from_json(json.dumps(experiment.spec))
    baseline = context.store.projects.baseline(experiment.baseline_id)
    results: list[RunResult] = results_of(context.store, runs, baseline_version=baseline.number)
    choice = best(results, spec.best_by)
    if choice.run_id is None or context.store.experiments.choose(
        experiment.id, best_run=choice.run_id, summary=choice.reason
    ):
        return choice.run_id, choice.reason
    # Another summary, which this one had taken for dead, was first: there is one best run only.
    standing = context.store.experiments.get(experiment.id)
    return standing.best_run, standing.summary or ""


def _end_all(context: Context, runs: list[Run], ending: Ending) -> None:
    for run in runs:
        context.publish(context.store.runs.finish(run.id, ending, seen=RunState.CANDIDATE))


def _totals(runs: list[Run]) -> str:
    counts = {state: sum(run.state is state for run in runs) for state in RunState}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)
