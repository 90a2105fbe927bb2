"""The table that updates while an experiment runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.app.views import experiment_view
from orchestrator.cli.output import out, screen, seconds, state_text, table
from orchestrator.errors import RegistryUnavailable
from orchestrator.runs import Step
from orchestrator.steps.context import Context

REFRESH_SECONDS = 0.5


def watch_experiment(
    context: Context, handle: str, *, quiet: bool = False, each: Callable[[Live | None], None] | None = None
) -> dict[str, Any]:
    """Show progress until the experiment is finished; its last view. On no terminal, one line per change.

    `each` is called once a round, with the table on the screen where there is one.
    """
    experiment = context.store.experiments.by_handle(handle)
    if quiet or not out.is_terminal:
        return _lines(context, experiment.id, quiet=quiet, each=each)
    view = experiment_view(context, experiment)
    with Live(_table(view), console=screen, refresh_per_second=4, transient=False) as live:
        while True:
            view = _view(context, experiment.id, view)
            live.update(_table(view))
            if view["state"] == "finished":
                return view
            if each:
                each(live)
            time.sleep(REFRESH_SECONDS)


def _lines(
    context: Context, experiment_id: int, *, quiet: bool, each: Callable[[Live | None], None] | None
) -> dict[str, Any]:
    seen: dict[str, str] = {}
    view: dict[str, Any] = {}
    while True:
        view = _view(context, experiment_id, view)
        for row in view["runs"]:
            state = "parked" if row["parked"] else row["state"]
            if seen.get(row["run"]) != state:
                seen[row["run"]] = state
                if not quiet:
                    out.print(f"{row['run']}: {state} {row['reason']}".rstrip(), markup=False)
        if view["state"] == "finished":
            return view
        if each:
            each(None)
        time.sleep(REFRESH_SECONDS)


def _view(context: Context, experiment_id: int, last: dict[str, Any]) -> dict[str, Any]:
    """The present view; while the registry is away, the last one, for it comes back."""
    try:
        return experiment_view(context, context.store.experiments.get(experiment_id))
    except RegistryUnavailable:
        if not last:
            raise
        return last


def progress_table(view: dict[str, Any]) -> Table:
    rows = [
        (
            row["run"],
            Text("parked", style="dim") if row["parked"] else state_text(row["state"]),
            _step(row),
            seconds(row["elapsed_seconds"]),
            f"{row['fix_attempts']} of {row['migrations']}" if row["migrations"] else "–",
            row["reason"],
        )
        for row in view["runs"]
    ]
    return table(("run", "state", "step", "elapsed", "fixes / migrations", "reason"), rows)


def _table(view: dict[str, Any]) -> Group:
    states = ", ".join(f"{count} {state}" for state, count in view["states"].items())
    return Group(
        Text(f"{view['experiment']} on baseline {view['baseline']}: {states}", style="bold"), progress_table(view)
    )


def _step(row: dict[str, Any]) -> str:
    steps = list(Step)
    done = row["steps_done"]
    if done >= len(steps):
        return "done"
    return f"{done + 1}/{len(steps)} {steps[done].value.replace('_', ' ')}"
