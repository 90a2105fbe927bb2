"""What the registry knows, as plain data for people and for `--json`: no secrets, no machine objects."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator.capture.changeset import Changeset
from orchestrator.errors import NotPossible
from orchestrator.experiments.compare import Comparison, RunResult, compare
from orchestrator.experiments.spec import Experiment
from orchestrator.steps.context import Context
from orchestrator.steps.results import results_of
from orchestrator.store import ExperimentRow, Run


def experiments(context: Context, *, limit: int = 20) -> list[dict[str, Any]]:
    """The newest experiments first."""
    return [
        {
            "experiment": row["handle"],
            "project": row["project"],
            "runs": row["runs"],
            "finished": row["finished_runs"],
            "state": "finished" if row["finished_at"] else "cancelling" if row["cancel_requested_at"] else "open",
            "summary": row["summary"] or "",
            "created_at": row["created_at"].isoformat(),
        }
        for row in context.store.experiments.recent(limit=limit)
    ]


def progress(context: Context, experiment: ExperimentRow) -> list[dict[str, Any]]:
    """Each run of an experiment in one line: state, step, elapsed seconds, fix attempts, verdict, reason."""
    runs = context.store.runs.of_experiment(experiment.id)
    counts = context.store.ledger.counts([run.id for run in runs])
    return [_progress(run, counts.get(run.id, (0, 0))) for run in runs]


def _progress(run: Run, counts: tuple[int, int]) -> dict[str, Any]:
    end = run.finished_at or datetime.now(UTC)
    return {
        "run": run.id,
        "variant": run.variant,
        "repeat": run.repeat,
        "state": run.state.value,
        "steps_done": run.steps_done,
        "parked": run.parked_at is not None,
        "elapsed_seconds": round((end - run.started_at).total_seconds(), 1) if run.started_at else None,
        "migrations": counts[0],
        "fix_attempts": counts[1],
        "verdict": run.verdict,
        "reason": run.reason or "",
    }


def experiment_view(context: Context, experiment: ExperimentRow) -> dict[str, Any]:
    rows = progress(context, experiment)
    baseline = context.store.projects.baseline(experiment.baseline_id)
    return {
        "experiment": experiment.handle,
        "project": context.store.projects.by_id(experiment.project_id).name,
        "baseline": baseline.number,
        "baseline_fingerprint": baseline.fingerprint,
        "promote": experiment.promote,
        "parallel": experiment.parallel,
        "state": "finished" if experiment.finished_at else "open",
        "best_run": experiment.best_run,
        "summary": experiment.summary or "",
        "states": dict(Counter(row["state"] for row in rows)),
        "runs": rows,
    }


def run_view(context: Context, run_id: str) -> dict[str, Any]:
    """All that is known of one run: state, steps, events, ledger, metrics, checks, changeset's summary, receipt."""
    run = context.store.runs.get(run_id)
    experiment = context.store.experiments.get(run.experiment_id)
    baseline = context.store.projects.baseline(experiment.baseline_id)
    checks = context.store.runs.checks([run.id])[run.id]
    return {
        **_progress(run, context.store.ledger.counts([run.id]).get(run.id, (0, 0))),
        "experiment": experiment.handle,
        "seed": run.seed,
        "baseline": baseline.number,
        "baseline_fingerprint": run.baseline_fingerprint,
        "agent_seconds": run.agent_seconds,
        "agent_starts": run.agent_starts,
        "notes": run.notes or "",
        "changeset": run.changeset_hash,
        "metrics": context.store.runs.measurements([run.id])[run.id],
        "checks": {name: {"ok": ok, "detail": detail} for name, (ok, detail) in checks.items()},
        "steps": [_times(row) for row in context.store.runs.attempts(run.id)],
        "events": [_times(row) for row in context.store.runs.events(run.id)],
        "migrations": [_migration(row) for row in context.store.ledger.of_run(run.id)],
        "receipt": receipt(context, [run.id]),
    }


def _times(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()}


def _migration(row: dict[str, Any]) -> dict[str, Any]:
    kept = ("name", "original", "final", "applied", "statements", "duration_seconds")
    attempt = ("number", "fixer", "sql", "sqlstate", "message", "duration_seconds", "tokens", "cost")
    return {
        **{key: row[key] for key in kept},
        "attempts": [{key: one[key] for key in attempt} for one in row["attempts"]],
    }


def receipt(context: Context, run_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Every resource that the runs created: when it was intended, and when it was seen gone (or why it is kept)."""
    lines = []
    for row in context.store.environments.receipt(run_ids):
        left = "" if row["gone_at"] else "kept to look at" if row["kept"] else str(row["state"])
        lines.append(
            {
                "run": row["run_id"],
                "environment": row["environment"],
                "kind": row["kind"],
                "name": row["name"],
                "created_at": row["intended_at"].isoformat(),
                "gone_at": row["gone_at"].isoformat() if row["gone_at"] else None,
                "left": left,
            }
        )
    return lines


def changeset_of(context: Context, run_id: str) -> Changeset:
    """The run's changeset. Raises NotPossible where none was captured."""
    run = context.store.runs.get(run_id)
    if run.changeset_hash is None:
        raise NotPossible(
            f"Run {run.id} has no changeset: it is {run.state}. {run.reason or 'Nothing is captured yet.'}"
        )
    return Changeset.from_json(context.store.artifacts.get(run.changeset_hash))


def agent_log(context: Context, run_id: str) -> str:
    """What the agent printed, redacted. Raises NotPossible while there is none."""
    run = context.store.runs.get(run_id)
    if run.log_hash is None:
        raise NotPossible(f"Run {run.id} has no log: its agent has not ended, or is a folder of SQL.")
    return context.store.artifacts.get(run.log_hash).decode("utf-8", errors="replace")


def results(context: Context, experiment: ExperimentRow) -> list[RunResult]:
    runs = context.store.runs.of_experiment(experiment.id)
    baseline = context.store.projects.baseline(experiment.baseline_id)
    return results_of(context.store, runs, baseline_version=baseline.number)


def comparison(context: Context, experiment: ExperimentRow) -> Comparison:
    return compare(results(context, experiment), spec_of(experiment).best_by)


def spec_of(experiment: ExperimentRow) -> Experiment:
    return Experiment.from_json(json.dumps(experiment.spec))
