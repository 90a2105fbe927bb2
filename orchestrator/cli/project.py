"""project add, project list."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.app.projects import ProjectRequest, add_project
from orchestrator.cli.output import Json, call, emit, out, table
from orchestrator.errors import SettingsError
from orchestrator.secrets import redact
from orchestrator.store import Project

app = typer.Typer(help="Targets, where their forks live, and their limits.", no_args_is_help=True)


def add_to(parent: typer.Typer) -> None:
    parent.add_typer(app, name="project")


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="1 to 40 of a-z, 0-9, '-'.")],
    target: Annotated[str, typer.Option(help="The database that changes are merged into: postgresql://…")],
    host: Annotated[str | None, typer.Option(help="Where forks live: a login with CREATEDB and CREATEROLE.")] = None,
    provider: Annotated[str, typer.Option(help="How databases are forked.")] = "clone",
    parallel: Annotated[int, typer.Option(help="Runs at once (1 to 256).")] = 4,
    ttl: Annotated[int, typer.Option(help="Seconds until a fork expires.")] = 86400,
    pool: Annotated[int, typer.Option(help="Ready forks to keep at hand (0 = off).")] = 0,
    agent_connections: Annotated[int, typer.Option(help="Connections that one agent may hold.")] = 2,
    redis: Annotated[
        str | None, typer.Option(help="A Redis or Valkey in which each agent gets a namespace: redis://…")
    ] = None,
    restart: Annotated[bool, typer.Option(help="Start an interrupted agent once more, on a fresh fork.")] = True,
    as_json: Json = False,
) -> None:
    """Add a project, or change the one of that name. Creates the schema `forkyard` in the target, for merge markers.

    Example: forkyard project add shop --target postgresql://shop_owner:secret@db/shop
    """
    with call.context() as context:
        fork_host = context.settings.fork_host
        if host is None and fork_host is None:
            raise SettingsError("Name the server for forks: --host postgresql://…, or [fork_host] in forkyard.toml.")
        request = ProjectRequest(
            name=name,
            target=target,
            host=host or (fork_host.conninfo() if fork_host else ""),
            provider=provider,
            max_parallel=parallel,
            ttl_seconds=ttl,
            pool_size=pool,
            agent_connections=agent_connections,
            restart_interrupted=restart,
            redis=redis,
        )
        data = _data(add_project(context, request))
    emit(data, as_json, lambda d: out.print(f"Project {d['name']}: forks by {d['provider']}.", markup=False))


@app.command("list")
def list_projects(as_json: Json = False) -> None:
    """The projects and their limits.

    Example: forkyard project list
    """
    with call.context() as context:
        data = [_data(project) for project in context.store.projects.all()]
    columns = ("name", "provider", "target", "max_parallel", "ttl_seconds", "pool_size")
    emit(data, as_json, lambda d: out.print(table(columns, [[p[c] for c in columns] for p in d])))


def _data(project: Project) -> dict[str, Any]:
    return {
        "name": project.name,
        "provider": project.provider,
        "target": redact(project.target_conninfo),
        "host": redact(project.host_conninfo),
        "max_parallel": project.max_parallel,
        "ttl_seconds": project.ttl_seconds,
        "pool_size": project.pool_size,
        "agent_connections": project.agent_connections,
        "restart_interrupted": project.restart_interrupted,
    }
