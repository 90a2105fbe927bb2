"""status, show, logs, receipt, baseline and run details."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.app import views
from orchestrator.cli.live import progress_table
from orchestrator.cli.output import Json, call, emit, out, seconds, state_text, table

Name = Annotated[str, typer.Argument(help="An experiment, or a run such as clean-customers/careful#2.")]


def add_to(app: typer.Typer) -> None:
    app.command("status")(status)
    app.command("show")(show)
    app.command("logs")(logs)
    app.command("receipt")(receipt)


def status(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Show so many.")] = 20, as_json: Json = False
) -> None:
    """The newest experiments and how far they are.

    Example: forkyard status
    """
    with call.context() as context:
        data = views.experiments(context, limit=limit)
    columns = ("experiment", "project", "state", "finished", "runs", "summary")
    emit(data, as_json, lambda rows: out.print(table(columns, [[row[c] for c in columns] for row in rows])))


def show(name: Name, as_json: Json = False) -> None:
    """All that is known of an experiment, or of one run: steps, ledger, metrics, checks, receipt.

    Example: forkyard show clean-customers/careful#2
    """
    with call.context() as context:
        if "/" in name:
            emit(views.run_view(context, name), as_json, _render_run)
        else:
            experiment = context.store.experiments.by_handle(name)
            emit(views.experiment_view(context, experiment), as_json, _render_experiment)


def logs(name: Annotated[str, typer.Argument(metavar="RUN")], as_json: Json = False) -> None:
    """What a run's agent printed.

    Example: forkyard logs clean-customers/careful#2
    """
    with call.context() as context:
        text = views.agent_log(context, name)
    emit({"run": name, "log": text}, as_json, lambda d: out.print(d["log"], markup=False, end=""))


def receipt(name: Name, as_json: Json = False) -> None:
    """Everything that a run or an experiment created, and when each was seen gone.

    Example: forkyard receipt clean-customers
    """
    with call.context() as context:
        if "/" in name:
            run_ids = [context.store.runs.get(name).id]
        else:
            experiment = context.store.experiments.by_handle(name)
            run_ids = [run.id for run in context.store.runs.of_experiment(experiment.id)]
        lines = views.receipt(context, run_ids)
    emit(lines, as_json, render_receipt)


def render_receipt(lines: list[dict[str, Any]]) -> None:
    rows = [
        (
            line["run"],
            line["kind"],
            line["name"].rpartition("/")[2],
            _clock(line["created_at"]),
            _clock(line["gone_at"]),
            line["left"],
        )
        for line in lines
    ]
    out.print(table(("run", "kind", "name", "created", "seen gone", "left"), rows))
    left = sum(1 for line in lines if not line["gone_at"])
    out.print(f"{len(lines)} created, {len(lines) - left} seen gone, {left} left.", markup=False)


def _clock(moment: str | None) -> str | None:
    return None if moment is None else moment.partition("T")[2][:8]


def _render_experiment(view: dict[str, Any]) -> None:
    out.print(
        f"{view['experiment']} ({view['state']}): project {view['project']}, baseline {view['baseline']}, "
        f"promote {view['promote']}, {view['parallel']} at once",
        markup=False,
    )
    out.print(progress_table(view))
    if view["summary"]:
        out.print(view["summary"], markup=False)


def _render_run(view: dict[str, Any]) -> None:
    out.print(view["run"], state_text(view["state"]), f"– {view['reason']}", markup=False)
    out.print(f"baseline {view['baseline']}, seed {view['seed']}, agent {seconds(view['agent_seconds'])}", markup=False)
    steps = [(s["step"], s["outcome"], s["worker"], _clock(s["started_at"]), s["reason"]) for s in view["steps"]]
    out.print(table(("step", "outcome", "worker", "started", "reason"), steps, title="Steps"))
    attempts = [
        (m["name"], a["number"], a["fixer"], a["sqlstate"], a["message"])
        for m in view["migrations"]
        for a in m["attempts"]
    ]
    if attempts:
        out.print(table(("migration", "try", "fixer", "sqlstate", "error"), attempts, title="Migrations"))
    if view["metrics"]:
        out.print(table(("metric", "value"), list(view["metrics"].items()), title="Metrics"))
    if view["checks"]:
        checks = [(name, "holds" if c["ok"] else "FAILS", c["detail"]) for name, c in view["checks"].items()]
        out.print(table(("check", "", "detail"), checks, title="Checks"))
    if view["receipt"]:
        render_receipt(view["receipt"])
