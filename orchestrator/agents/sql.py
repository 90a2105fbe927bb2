"""Agents that are a folder of SQL: no process runs, the files are the migrations."""

from __future__ import annotations

import shutil
from pathlib import Path

from orchestrator.errors import AgentFailed


def copy_migrations(folder: str, *, workspace: Path, migrations_dir: Path) -> tuple[str, ...]:
    """Copy `folder`'s `*.sql` files into the migrations folder; their names, sorted. May run twice.

    `folder` is relative to the workspace. Raises AgentFailed where it leads elsewhere, is missing or holds none.
    """
    source = (workspace / folder).resolve()
    if not source.is_relative_to(workspace.resolve()):
        raise AgentFailed(f"The agent's folder {folder!r} lies outside of its workspace.")
    if not source.is_dir():
        raise AgentFailed(f"The agent's folder {folder!r} is not in its workspace; look at `files:`.")
    files = sorted(file for file in source.glob("*.sql") if file.is_file() and not file.is_symlink())
    if not files:
        raise AgentFailed(f"The agent's folder {folder!r} holds no *.sql file.")
    migrations_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, migrations_dir / file.name)
    return tuple(file.name for file in files)
