"""Agents that are commands, in any language."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import AgentFailed

_PYTHON = ("python", "python3")


def argv(command: str | Sequence[str], *, workspace: Path, path: str) -> tuple[str, ...]:
    """The words to execute. A string is split as a shell would, but no shell runs it.

    `python` as first word is the worker's own interpreter, so that an agent finds the packages installed with
    Forkyard; a first word with a slash is a file in the workspace; any other is looked up in `path`.

    Raises AgentFailed where there is no such program.
    """
    program, *arguments = _words(command)
    if program in _PYTHON:
        return (sys.executable, *arguments)
    return (_find(program, workspace=workspace, path=path), *arguments)


def _words(command: str | Sequence[str]) -> list[str]:
    try:
        words = shlex.split(command) if isinstance(command, str) else list(command)
    except ValueError as exc:
        raise AgentFailed(f"The agent's command {command!r} cannot be split into words: {exc}.") from exc
    if not words or not words[0]:
        raise AgentFailed("The agent's command is empty; name a program.")
    return words


def _find(program: str, *, workspace: Path, path: str) -> str:
    if "/" in program:
        file = workspace / program
        if not file.is_file():
            raise AgentFailed(f"The agent's program {program!r} is not a file in its workspace; look at `files:`.")
        if not os.access(file, os.X_OK):
            raise AgentFailed(f"The agent's program {program!r} is not executable; `chmod +x` it before you submit.")
        return str(file)
    found = shutil.which(program, path=path)
    if found is None:
        hint = f"; write './{program}' for the file in the workspace" if (workspace / program).is_file() else ""
        raise AgentFailed(f"The agent's program {program!r} is not installed on this worker{hint}.")
    return found
