"""This process's Context, built on first use: after the pool has forked, never before."""

from __future__ import annotations

import os

from orchestrator.app import open_context
from orchestrator.settings import load
from orchestrator.steps.context import Context

_contexts: dict[int, Context] = {}


def context() -> Context:
    """The context of this process; a child never uses its parent's connections."""
    pid = os.getpid()
    if pid not in _contexts:
        _contexts.clear()
        _contexts[pid] = open_context(load())
    return _contexts[pid]
