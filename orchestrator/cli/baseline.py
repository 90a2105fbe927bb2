"""baseline create, list, release."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.app.baselines import create_baseline, release_baseline
from orchestrator.cli.output import Json, call, emit, out, table

app = typer.Typer(help="Sealed versions of a target, which runs fork from.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The project's name.")]


def add_to(parent: typer.Typer) -> None:
    parent.add_typer(app, name="baseline")


@app.command("create")
def create(
    project: Name,
    label: Annotated[str | None, typer.Option(help="A name for this version.")] = None,
    as_json: Json = False,
) -> None:
    """Seal the target's present state as a new version. The target stays online.

    Example: forkyard baseline create shop --label before-cleaning
    """
    with call.context() as context:
        made = create_baseline(context, context.store.projects.get(project), label=label)
        data = {"project": project, "number": made.number, "label": made.label, "fingerprint": made.fingerprint}
    emit(
        data,
        as_json,
        lambda d: out.print(f"Sealed baseline {d['number']} of {project}: {d['fingerprint']}", markup=False),
    )


@app.command("list")
def list_baselines(project: Name, as_json: Json = False) -> None:
    """The versions of a project, and which of them experiments use.

    Example: forkyard baseline list shop
    """
    with call.context() as context:
        rows = context.store.projects.baselines(context.store.projects.get(project).id)
    columns = ("number", "label", "state", "fingerprint", "created_at", "in_use")
    data: list[dict[str, Any]] = [{column: row[column] for column in columns} for row in rows]
    emit(data, as_json, lambda d: out.print(table(columns, [list(row.values()) for row in d])))


@app.command("release")
def release(project: Name, number: Annotated[int, typer.Argument()], as_json: Json = False) -> None:
    """Delete a version that nothing needs any more.

    Example: forkyard baseline release shop 1
    """
    with call.context() as context:
        release_baseline(context, context.store.projects.get(project), number)
    data = {"project": project, "number": number, "released": True}
    emit(data, as_json, lambda _: out.print(f"Baseline {number} of {project} is gone.", markup=False))
