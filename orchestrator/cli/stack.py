"""up, down, ps."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.app.embedded import Concurrency, bring_up, stack_of, start_workers, take_down
from orchestrator.cli.output import Json, call, emit, out, seconds, table
from orchestrator.cli.setup import write_config
from orchestrator.devstack.status import StackStatus
from orchestrator.settings import CONFIG_NAME, Settings


def add_to(app: typer.Typer) -> None:
    app.command("up")(up)
    app.command("down")(down)
    app.command("ps")(ps)


def up(
    agents: Annotated[int, typer.Option(min=1, max=64, help="Agents at once on this host.")] = 4,
    workers: Annotated[bool, typer.Option(help="Also start workers, beat and Flower.")] = True,
    as_json: Json = False,
) -> None:
    """Start servers (where forkyard.toml says embedded), workers, beat and Flower. Safe to repeat.

    Example: forkyard up --agents 8
    """
    settings = call.settings()
    if settings.config_file is None:
        write_config(Path(CONFIG_NAME), embedded=True)
        settings = call.settings()
    settings = bring_up(settings)
    status = start_workers(settings, concurrency=Concurrency(agents=agents)) if workers else stack_of(settings).status()
    emit(_data(settings, status), as_json, _render)


def down(
    destroy: Annotated[
        bool, typer.Option("--destroy", help="Also remove the embedded servers' data, for good.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Stop workers, beat, Flower and the embedded servers.

    Example: forkyard down
    """
    settings = call.settings()
    emit(_data(settings, take_down(settings, destroy=destroy)), as_json, _render)


def ps(as_json: Json = False) -> None:
    """What of the stack runs, where, since when.

    Example: forkyard ps
    """
    settings = call.settings()
    data = _data(settings, stack_of(settings).status())
    if settings.flower.password is not None:
        data["flower_login"] = f"{settings.flower.user} (password in {settings.secrets_file})"
    emit(data, as_json, _render)


def _data(settings: Settings, status: StackStatus) -> dict[str, Any]:
    theirs = () if settings.embedded else ("postgres", "valkey")  # the user's own servers are not ours to list
    services = [{**asdict(s), "state": s.state.value} for s in status.services if s.name not in theirs]
    for service in services:
        service["log"] = str(service["log"]) if service["log"] else None
    return {
        "services": services,
        "cloning": status.cloning if settings.embedded else "",
        "notes": list(status.notes),
        "state_dir": str(status.state_dir),
    }


def _render(data: dict[str, Any]) -> None:
    rows = [
        (s["name"], s["state"], s["pid"], s["address"] or "–", seconds(s["uptime_seconds"])) for s in data["services"]
    ]
    out.print(table(("service", "state", "pid", "address", "uptime"), rows))
    if data["cloning"]:
        out.print(f"Forks: {data['cloning']}.", markup=False)
    for note in data["notes"]:
        out.print(note, markup=False)
    if "flower_login" in data:
        out.print(f"Flower's login: {data['flower_login']}", markup=False)
