"""This process's Context, built on first use: after the pool has forked, never before."""

from __future__ import annotations

import os

from orchestrator.app import open_context
from orchestrator.settings import load
from orchestrator.steps.context import Context

_contexts: dict[int, tuple[Context, object]] = {}
"""By process id: the context, and the version of the secrets file that it was built from."""


def context() -> Context:
    """The context of this process; a child never uses its parent's connections.

    Passwords of projects that were added or changed since the last task are known to it.
    """
    pid = os.getpid()
    if pid not in _contexts:
        _contexts.clear()
        settings = load()
        _contexts[pid] = open_context(settings), settings.secrets_version()
    found, read = _contexts[pid]
    version = found.settings.secrets_version()
    if version != read:
        found.settings = load()
        _contexts[pid] = found, version
    return found
