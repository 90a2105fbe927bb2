"""Agents that are Python functions: each call gets a process of its own."""

from __future__ import annotations

import re
import sys

from orchestrator.agents import call
from orchestrator.errors import AgentFailed

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def argv(target: str) -> tuple[str, ...]:
    """The command that calls `module:function` with an `Environment`. Raises AgentFailed for another form.

    The file is named instead of its module, so that nothing in the workspace can stand in for Forkyard.
    """
    if not _TARGET.fullmatch(target):
        raise AgentFailed(f"The agent's callable {target!r} is not of the form 'module:function'.")
    return (sys.executable, "-P", "-u", call.__file__, target)
