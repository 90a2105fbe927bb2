"""promote, discard, cancel."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from orchestrator.app import decide as decisions
from orchestrator.app.views import run_view
from orchestrator.cli.output import Json, call, emit, out, state_text
from orchestrator.runs import RunState
from orchestrator.steps.context import Context

RunId = Annotated[str, typer.Argument(help="A run, such as clean-customers/careful#2.", metavar="RUN")]


def add_to(app: typer.Typer) -> None:
    app.command("promote")(promote)
    app.command("discard")(discard)
    app.command("cancel")(cancel)


def promote(
    run: RunId,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the merge.")] = 60,
    as_json: Json = False,
) -> int:
    """Merge a held run or a candidate.

    Example: forkyard promote clean-customers/careful#2
    """
    with call.context() as context:
        decisions.promote(context, run)
        view = _after_settling(context, run, wait)
    emit(view, as_json, _render)
    return 0 if view["state"] in ("merged", "settling") else 1


def discard(run: RunId, as_json: Json = False) -> None:
    """End a held run or a candidate without merging it, and release its fork; of a failed run, the fork it kept.

    Example: forkyard discard clean-customers/quick#1
    """
    with call.context() as context:
        decisions.discard(context, run)
        view = run_view(context, run)
    emit(view, as_json, _render)


def cancel(
    name: Annotated[str, typer.Argument(help="A run, or an experiment for all of its runs.")], as_json: Json = False
) -> None:
    """End runs as soon as they can: agents are ended, forks released.

    Example: forkyard cancel clean-customers
    """
    with call.context() as context:
        if "/" in name:
            runs = [decisions.cancel(context, name)]
        else:
            runs = decisions.cancel_experiment(context, context.store.experiments.by_handle(name))
        data = [{"run": run.id, "state": run.state.value, "reason": run.reason or "asked to end"} for run in runs]
    emit(data, as_json, _render_all)


def _after_settling(context: Context, run: str, wait: float) -> dict[str, Any]:
    deadline = time.monotonic() + wait
    while context.store.runs.get(run).state is RunState.SETTLING and time.monotonic() < deadline:
        time.sleep(0.2)
    return run_view(context, run)


def _render_all(views: list[dict[str, Any]]) -> None:
    if not views:
        out.print("Nothing to cancel: all of its runs have ended.")
    for view in views:
        _render(view)


def _render(view: dict[str, Any]) -> None:
    out.print(view["run"], state_text(view["state"]), f"– {view['reason']}", markup=False)
