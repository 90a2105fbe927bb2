"""sweep, doctor."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.text import Text

from orchestrator.app.doctor import examine
from orchestrator.cli.output import Json, call, emit, out, table
from orchestrator.errors import SettingsError
from orchestrator.maintenance import SWEEPS, Finding, expire, run_sweep
from orchestrator.steps.context import Context


def add_to(app: typer.Typer) -> None:
    app.command("sweep")(sweep)
    app.command("doctor")(doctor)


def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    only: Annotated[str | None, typer.Option("--only", help=f"One of {', '.join(SWEEPS)}.")] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", help="Expire what nothing needs after this age, e.g. 24h (at least 60s)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Collect what a crash left behind, now: the same work as the scheduled sweeps.

    Example: forkyard sweep --dry-run
    """
    if only is not None and only not in SWEEPS:
        raise SettingsError(f"There is no sweep {only!r}; there are: {', '.join(SWEEPS)}.")
    with call.context() as context:
        findings = [f for name in ([only] if only else SWEEPS) for f in _one(context, name, dry_run, older_than)]
    emit([asdict(finding) for finding in findings], as_json, _render_findings)


def _one(context: Context, name: str, dry_run: bool, older_than: str | None) -> list[Finding]:
    if name == expire.NAME and older_than is not None:
        age = _age(older_than)
        found = run_sweep(
            context, name, lambda c, dry: expire.run_once(c, dry, older_than_seconds=age), dry_run=dry_run
        )
    else:
        found = run_sweep(context, name, SWEEPS[name], dry_run=dry_run)
    if found is None:
        return [Finding(sweep=name, kind="sweep", name=name, action="left", reason="another sweeper is at it")]
    return found


def _age(text: str) -> int:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], text[-1]) if text and text[-1] in units else (text, "s")
    if not number.isdigit() or int(number) * units[unit] < 60:
        raise SettingsError(f"--older-than takes an age of at least 60s, such as 24h or 30m, not {text!r}.")
    return int(number) * units[unit]


def doctor(as_json: Json = False) -> int:
    """Check the whole installation; every finding says what to do.

    Example: forkyard doctor
    """
    with call.context() as context:
        data = [asdict(finding) for finding in examine(context)]
    emit(data, as_json, _render_doctor)
    return 0 if all(finding["ok"] for finding in data) else 1


def _render_findings(rows: list[dict[str, Any]]) -> None:
    if not rows:
        out.print("Nothing to do: no zombies, no stuck runs.")
        return
    columns = ("sweep", "kind", "name", "action", "reason")
    out.print(table(columns, [[row[c] for c in columns] for row in rows]))


def _render_doctor(rows: list[dict[str, Any]]) -> None:
    cells = [
        (
            Text("ok", style="green") if row["ok"] else Text("!!", style="bold red"),
            row["subject"],
            row["detail"],
            row["fix"],
        )
        for row in rows
    ]
    out.print(table(("", "what", "found", "what to do"), cells))
