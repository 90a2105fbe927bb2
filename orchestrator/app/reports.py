"""The report of an experiment as one HTML file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from orchestrator.app.views import changeset_of, receipt, results, spec_of
from orchestrator.errors import ForkyardError, SettingsError
from orchestrator.experiments.report import AttemptLine, ReceiptLine, ReportData, TableLine, render
from orchestrator.steps.context import Context
from orchestrator.store import ExperimentRow


def write_report(context: Context, experiment: ExperimentRow, path: Path) -> Path:
    """Render the report and write it to `path`. Raises SettingsError where it cannot be written."""
    page = render(report_data(context, experiment))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as exc:
        raise SettingsError(f"The report cannot be written to {path}: {exc.strerror}.") from None
    return path


def report_data(context: Context, experiment: ExperimentRow) -> ReportData:
    """All that the report shows, read from the registry."""
    spec = spec_of(experiment)
    baseline = context.store.projects.baseline(experiment.baseline_id)
    found = results(context, experiment)
    run_ids = [result.run_id for result in found]
    return ReportData(
        experiment=experiment.handle,
        project=spec.project,
        task=spec.task,
        promote=experiment.promote,
        best_by=spec.best_by,
        baseline_version=baseline.number,
        baseline_label=baseline.label or "",
        fingerprint=baseline.fingerprint,
        submitted_at=experiment.created_at,
        finished_at=experiment.finished_at,
        results=found,
        agents={name: variant.agent.words for name, variant in spec.variants.items()},
        attempts={run_id: _attempts(context, run_id) for run_id in run_ids},
        tables={run_id: _tables(context, run_id) for run_id in run_ids},
        receipt=_receipt(context, run_ids),
        notes=()
        if context.settings.llm
        else ("No language model is configured: migrations are repaired by rules only.",),
        reason=experiment.summary or "",
    )


def _attempts(context: Context, run_id: str) -> list[AttemptLine]:
    return [
        AttemptLine(
            migration=migration["name"],
            number=attempt["number"],
            fixer=attempt["fixer"],
            error=attempt["message"] or "",
        )
        for migration in context.store.ledger.of_run(run_id)
        for attempt in migration["attempts"]
    ]


def _tables(context: Context, run_id: str) -> list[TableLine]:
    try:
        changeset = changeset_of(context, run_id)
    except ForkyardError:
        return []
    return [
        TableLine(
            table=f"{table.schema}.{table.table}",
            inserted=table.inserted,
            updated=table.updated,
            deleted=table.deleted,
        )
        for table in changeset.tables
    ]


def _receipt(context: Context, run_ids: list[str]) -> list[ReceiptLine]:
    lines = receipt(context, run_ids)
    created = Counter(line["kind"] for line in lines)
    gone = Counter(line["kind"] for line in lines if line["gone_at"])
    left = {line["kind"]: line["left"] for line in lines if line["left"]}
    return [
        ReceiptLine(kind=kind, created=count, released=gone[kind], left=left.get(kind, ""))
        for kind, count in sorted(created.items())
    ]
