"""What the registry knows about an experiment's runs, as values that can be compared."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.experiments.compare import RunResult
from orchestrator.store import Run, Store


def results_of(store: Store, runs: Sequence[Run], *, baseline_version: int) -> list[RunResult]:
    """One result per run, in the given order. Five queries, however many runs."""
    ids = [run.id for run in runs]
    measurements = store.runs.measurements(ids)
    checks = store.runs.checks(ids)
    counts = store.ledger.counts(ids)
    return [
        RunResult(
            run_id=run.id,
            variant=run.variant,
            repeat=run.repeat,
            state=run.state,
            reason=run.reason or "",
            duration_seconds=run.agent_seconds,
            metrics=measurements[run.id],
            checks={name: ok for name, (ok, _) in checks[run.id].items()},
            migrations=counts.get(run.id, (0, 0))[0],
            fix_attempts=counts.get(run.id, (0, 0))[1],
            rows_inserted=int(measurements[run.id].get("changeset.rows.inserted") or 0),
            rows_updated=int(measurements[run.id].get("changeset.rows.updated") or 0),
            rows_deleted=int(measurements[run.id].get("changeset.rows.deleted") or 0),
            baseline_version=baseline_version,
            fingerprint=run.baseline_fingerprint,
        )
        for run in runs
    ]
