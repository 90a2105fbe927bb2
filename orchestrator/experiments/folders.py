"""Whether the folders and programs that an experiment file names are there."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.experiments.problems import near_miss

if TYPE_CHECKING:
    from orchestrator.experiments.document import ValuePath
    from orchestrator.experiments.spec import Agent

_INTERPRETERS = ("python", "python3", "bash", "sh", "node")


def problem_with_folder(path: ValuePath, who: str, named: str, beside: Path) -> Iterator[tuple[ValuePath, str]]:
    folder = beside / named
    if not folder.exists():
        siblings = [f"{found.name}/" for found in sorted(beside.iterdir()) if found.is_dir()]
        yield path, f"{who}: there is no folder '{named}' beside the experiment file{near_miss(named, siblings)}"
    elif not folder.is_dir():
        yield path, f"{who}: '{named}' is a file; name the folder that holds it"


def problem_with_sql_folder(variant: str, named: str, beside: Path) -> Iterator[tuple[ValuePath, str]]:
    path = ("variants", variant, "agent", "sql")
    missing = list(problem_with_folder(path, f"the sql agent of variant '{variant}'", named, beside))
    yield from missing
    if not missing and not any((beside / named).glob("*.sql")):
        yield path, f"the folder '{named}' of variant '{variant}' holds no *.sql file"


def problem_with_program(variant: str, agent: Agent, folder: Path, named: str) -> Iterator[tuple[ValuePath, str]]:
    """A script that the workspace will not hold. Only what is certain: other programs may be installed where
    the worker runs, and are looked for there."""
    if agent.command is not None and len(agent.command) > 1 and agent.command[0] in _INTERPRETERS:
        script = agent.command[1]
        if not script.startswith(("-", "/")) and "." in script and not (folder / script).exists():
            hint = near_miss(script, _files(folder))
            path = ("variants", variant, "agent", "command")
            yield path, f"the command of variant '{variant}' runs '{script}', which is not in '{named}'{hint}"
    if agent.callable is not None:
        module = agent.callable.partition(":")[0].partition(".")[0]
        modules = [name.removesuffix(".py") for name in _files(folder)]
        hint = near_miss(module, modules)
        if module not in modules and hint and not _importable(module):
            path = ("variants", variant, "agent", "callable")
            yield path, f"the callable of variant '{variant}' is in module '{module}', which is not in '{named}'{hint}"


def _files(folder: Path) -> list[str]:
    return sorted(found.name for found in folder.iterdir())


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
