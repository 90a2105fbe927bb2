"""demo: the main job from nothing, on servers of its own."""

from __future__ import annotations

import runpy
import secrets
import signal
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from orchestrator.app import open_context, views
from orchestrator.app.baselines import create_baseline
from orchestrator.app.embedded import Concurrency, bring_up, stack_of, start_workers, take_down
from orchestrator.app.projects import ProjectRequest, add_project
from orchestrator.app.reports import write_report
from orchestrator.app.submit import submit
from orchestrator.cli.compare import render_comparison
from orchestrator.cli.experiment import watch_with_cancel
from orchestrator.cli.inspect import render_receipt
from orchestrator.cli.output import out
from orchestrator.cli.setup import write_config
from orchestrator.errors import NotFound
from orchestrator.maintenance import SWEEPS, run_sweep
from orchestrator.settings import CONFIG_NAME, Settings, load
from orchestrator.steps.context import Context

DEFAULT_EXAMPLE = Path("examples/shop")


def add_to(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack up afterwards.")] = False,
    example: Annotated[Path, typer.Option(help="The folder of the example.")] = DEFAULT_EXAMPLE,
    state: Annotated[Path, typer.Option(help="Where the demo keeps its servers and report.")] = Path(".forkyard/demo"),
) -> int:
    """Run the demo experiment on an embedded stack: 4 variants × 2 repeats, the best one merged, nothing left.

    Example: forkyard demo --keep
    """
    if not (example / "experiment.yaml").is_file():
        raise NotFound(f"There is no {example / 'experiment.yaml'}: run the demo from the project's folder.")
    began = time.monotonic()
    # SIGTERM ends the demo as Ctrl-C does: through the clean-up below.
    signal.signal(signal.SIGTERM, _interrupt)
    config = state / CONFIG_NAME
    with suppress(FileNotFoundError):
        config.unlink()
    write_config(config, embedded=True)
    settings = load(config)
    take_down(settings, destroy=True)
    try:
        return _demo(settings, example, state, keep=keep, began=began)
    except KeyboardInterrupt:
        keep = False
        out.print("\nInterrupted: taking the stack down …")
        raise
    finally:
        if not keep:
            take_down(settings, destroy=True)
            out.print("The stack is down; nothing of it runs any more.")


def _demo(settings: Settings, example: Path, state: Path, *, keep: bool, began: float) -> int:
    settings = bring_up(settings, bound_to_caller=not keep, disposable=True)
    start_workers(settings, concurrency=Concurrency(agents=4), bound_to_caller=not keep)
    stack = stack_of(settings)
    out.print(f"Stack up in {time.monotonic() - began:.1f} s: {stack.status().cloning}", markup=False)
    target = _seed(stack.postgres_url(), example)
    context = open_context(settings)
    try:
        out.print("Shop seeded; taking a baseline …")
        host = settings.fork_host
        project = add_project(
            context, ProjectRequest(name="shop", target=target, host=host.conninfo() if host else "", pool_size=2)
        )
        context.settings = load(settings.config_file)
        create_baseline(context, project, label="demo")
        submitted = submit(context, example / "experiment.yaml")
        flower = f"http://127.0.0.1:{settings.flower.port}"
        out.print(f"Flower: {flower} (user {settings.flower.user}, password in {settings.secrets_file})", markup=False)
        watch_with_cancel(context, submitted.experiment.handle)
        return _finish(context, submitted.experiment.handle, state, flower if keep else "")
    finally:
        context.store.close()


def _seed(admin_url: str, example: Path) -> str:
    """Make and fill the example's database by its own script; its owner's URL."""
    script = runpy.run_path(str(example / "seed.py"))
    target = str(script["create"](admin_url, password=secrets.token_urlsafe(18)))
    script["fill"](target)
    return target


def _finish(context: Context, handle: str, state: Path, flower: str) -> int:
    experiment = context.store.experiments.by_handle(handle)
    for name in ("rescue", "expire", "orphans", "workspaces"):
        run_sweep(context, name, SWEEPS[name])
    render_comparison(views.comparison(context, experiment))
    merged = [row for row in views.progress(context, experiment) if row["state"] == "merged"]
    for row in merged:
        out.print(f"Merged {row['run']}: {row['reason']}", markup=False, style="bold green")
        changeset = views.changeset_of(context, row["run"])
        edits = ", ".join(f"{t.table} +{t.inserted} ~{t.updated} -{t.deleted}" for t in changeset.tables)
        migrations = ", ".join(entry.name for entry in changeset.ledger)
        out.print(f"  rows: {edits or 'none'}; migrations: {migrations or 'none'}", markup=False)
    report = write_report(context, experiment, state / f"{handle}.html")
    out.print(f"Report: {report.resolve()}", markup=False)
    if flower:
        out.print(f"Flower stays at {flower}; `forkyard --config {state / CONFIG_NAME} down` ends it.", markup=False)
    lines = views.receipt(context, [row.id for row in context.store.runs.of_experiment(experiment.id)])
    render_receipt(lines)
    return 0 if merged and all(line["gone_at"] for line in lines) else 1


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise KeyboardInterrupt
