"""diff, compare, report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.app import views
from orchestrator.app.reports import write_report
from orchestrator.capture.changeset import Changeset
from orchestrator.cli.output import Json, call, emit, out, seconds, table
from orchestrator.experiments.compare import Comparison, Spread, number


def add_to(app: typer.Typer) -> None:
    app.command("diff")(diff)
    app.command("compare")(compare)
    app.command("report")(report)


def diff(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    rows: Annotated[int, typer.Option(min=0, help="Show so many rows of each table.")] = 5,
    as_json: Json = False,
) -> None:
    """What a run changed: migrations, objects, rows, sequences.

    Example: forkyard diff clean-customers/careful#2 --rows 20
    """
    with call.context() as context:
        changeset = views.changeset_of(context, run)
    emit(json.loads(changeset.to_json()), as_json, lambda _: _render_changeset(changeset, rows))


def compare(
    experiment: Annotated[str, typer.Argument(help="An experiment, such as clean-customers.")], as_json: Json = False
) -> None:
    """Which variant does best: medians per metric, best first.

    Example: forkyard compare clean-customers
    """
    with call.context() as context:
        comparison = views.comparison(context, context.store.experiments.by_handle(experiment))
    emit(comparison_data(comparison), as_json, lambda _: render_comparison(comparison))


def report(
    experiment: Annotated[str, typer.Argument()],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write the HTML file.")] = None,
    as_json: Json = False,
) -> None:
    """Write the experiment's report as one HTML file that needs no network.

    Example: forkyard report clean-customers -o report.html
    """
    with call.context() as context:
        found = context.store.experiments.by_handle(experiment)
        path = write_report(context, found, output or Path(f"{experiment}.html"))
    emit({"report": str(path)}, as_json, lambda d: out.print(f"Wrote {d['report']}", markup=False))


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    def spread(value: Spread | None) -> dict[str, float] | None:
        return None if value is None else {"median": value.median, "low": value.low, "high": value.high}

    return {
        "comparable": comparison.comparable,
        "note": comparison.note,
        "baseline": comparison.baseline_version,
        "variants": [
            {
                "variant": row.variant,
                "runs": row.runs,
                "states": {state.value: count for state, count in row.states.items()},
                "duration_seconds": spread(row.duration_seconds),
                "metrics": {name: spread(value) for name, value in row.metrics.items()},
            }
            for row in comparison.rows
        ],
    }


def render_comparison(comparison: Comparison) -> None:
    """One column per variant, best first; metrics that no run has are left out."""
    names = [n for n in comparison.metrics if any(row.metrics.get(n) for row in comparison.rows)]
    variants = comparison.rows
    rows: list[tuple[str, ...]] = [
        ("runs", *(", ".join(f"{count} {state.value}" for state, count in v.states.items()) for v in variants)),
        ("agent's time", *(seconds(v.duration_seconds.median if v.duration_seconds else None) for v in variants)),
    ]
    rows += [(name, *(_cell(v.metrics.get(name)) for v in variants)) for name in names]
    if not comparison.comparable:
        out.print(f"Not comparable: {comparison.note}", markup=False)
    out.print(table(("", *(v.variant for v in variants)), rows))


def _cell(spread: Spread | None) -> str:
    if spread is None:
        return "–"
    if spread.low == spread.high:
        return number(spread.median)
    return f"{number(spread.median)} ({number(spread.low)} to {number(spread.high)})"


def _render_changeset(changeset: Changeset, limit: int) -> None:
    if changeset.is_empty:
        out.print("Nothing was changed.")
        return
    for entry in changeset.ledger:
        out.print(f"migration {entry.name}", style="bold", markup=False)
        out.print(entry.sql.strip(), markup=False)
    objects = [(change.change, change.kind, change.name) for change in changeset.schema_changes]
    if objects:
        out.print(table(("", "object", "name"), objects, title="Schema"))
    tables = [
        (f"{t.schema}.{t.table}", t.inserted, t.updated, t.deleted, ", ".join(t.columns_touched))
        for t in changeset.tables
    ]
    if tables:
        out.print(
            table(("table", "inserted", "updated", "deleted", "columns"), tables, title="Rows beyond the migrations")
        )
    for one in changeset.tables:
        shown = [
            (e.op, ", ".join(e.key), _values(e.before, e.after), _values(e.after, None)) for e in one.edits[:limit]
        ]
        if shown:
            title = f"{one.schema}.{one.table}: {len(shown)} of {len(one.edits)}"
            out.print(table(("", "key", "before", "after"), shown, title=title))
    if changeset.unrecorded and changeset.ledger:
        out.print(f"{len(changeset.unrecorded)} objects were changed outside of migrations.", style="yellow")


def _values(row: Any, only: Any) -> str:
    if row is None:
        return "–"
    names = [name for name in row if only is None or name in only]
    return ", ".join(f"{name}={row[name] if row[name] is not None else 'NULL'}" for name in names)[:120]
