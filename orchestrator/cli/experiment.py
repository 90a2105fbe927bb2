"""run, submit, watch."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.live import Live

from orchestrator.app.decide import cancel_experiment
from orchestrator.app.submit import Submitted
from orchestrator.app.submit import submit as submit_experiment
from orchestrator.app.views import experiment_view
from orchestrator.cli.live import progress_table, watch_experiment
from orchestrator.cli.output import Json, call, emit, err, out
from orchestrator.steps.context import Context

File = Annotated[Path, typer.Argument(help="The experiment file.", metavar="EXPERIMENT.YAML")]
Only = Annotated[list[str] | None, typer.Option("--variant", help="Only this variant (may be repeated).")]


def add_to(app: typer.Typer) -> None:
    app.command("run")(run)
    app.command("submit")(submit)
    app.command("watch")(watch)


def run(file: File, variant: Only = None, as_json: Json = False) -> int:
    """Submit an experiment and watch it to its end. Ctrl-C asks once, then cancels it cleanly.

    Example: forkyard run experiment.yaml
    """
    with call.context() as context:
        submitted = submit_experiment(context, file, only=variant or [])
        _warn(submitted)
        view = watch_with_cancel(context, submitted.experiment.handle, quiet=as_json)
    emit(view, as_json, _render)
    return exit_code(view)


def submit(file: File, variant: Only = None, as_json: Json = False) -> None:
    """Record and send an experiment, and return at once.

    Example: forkyard submit experiment.yaml --variant careful
    """
    with call.context() as context:
        submitted = submit_experiment(context, file, only=variant or [])
    _warn(submitted)
    handle = submitted.experiment.handle
    data = {"experiment": handle, "runs": list(submitted.run_ids), "warning": submitted.warning}
    count = len(submitted.run_ids)
    text = f"{handle}: {count} {'run' if count == 1 else 'runs'}. Watch with: forkyard watch {handle}"
    emit(data, as_json, lambda _: out.print(text, markup=False))


def watch(
    experiment: Annotated[str, typer.Argument(help="An experiment, such as clean-customers.")], as_json: Json = False
) -> int:
    """Watch an experiment until it is finished. Ctrl-C only stops watching.

    Example: forkyard watch clean-customers
    """
    with call.context() as context:
        view = watch_experiment(context, experiment, quiet=as_json)
    emit(view, as_json, _render)
    return exit_code(view)


def exit_code(view: dict[str, Any]) -> int:
    """1 if a run failed or was cancelled, else 0 (discarded runs are an answer, not a failure)."""
    return 1 if any(row["state"] in ("failed", "cancelled") for row in view["runs"]) else 0


def watch_with_cancel(context: Context, handle: str, *, quiet: bool = False) -> dict[str, Any]:
    """Watch; the first Ctrl-C asks, the second (or a yes) cancels and waits for the clean end."""
    interrupts: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        interrupts.append(number)

    def act(live: Live | None) -> None:
        if not interrupts or asked:
            return
        asked.append(True)
        if len(interrupts) > 1 or _agreed(live):
            err.print("Cancelling: agents are ended, forks released …")
            cancel_experiment(context, context.store.experiments.by_handle(handle))
        else:
            interrupts.clear()
            asked.clear()

    asked: list[bool] = []
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return watch_experiment(context, handle, quiet=quiet, each=act)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _agreed(live: Live | None) -> bool:
    """Ask, with the table out of the way; where nobody can answer, Ctrl-C itself is the answer."""
    if live is None:
        return True
    live.stop()
    try:
        return typer.confirm("Cancel the experiment?", default=True)
    finally:
        live.start()


def _warn(submitted: Submitted) -> None:
    if submitted.warning:
        err.print(f"forkyard: {submitted.warning}", markup=False)


def _render(view: dict[str, Any]) -> None:
    if not out.is_terminal:
        out.print(progress_table(view))
    if view["best_run"]:
        out.print(f"Best: {view['best_run']} – {view['summary']}", markup=False)


def view_of(context: Context, handle: str) -> dict[str, Any]:
    return experiment_view(context, context.store.experiments.by_handle(handle))
