"""Celery's signals: structured logs without secrets, and a second path to cleanup for revoked tasks."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from celery import current_app
from celery.signals import setup_logging, task_revoked, worker_init

from orchestrator.logs import configure_logging


@setup_logging.connect
def _configure_logging(loglevel: int | str = "INFO", **_: Any) -> None:
    configure_logging(loglevel)


@worker_init.connect
def _hide_memory(**_: Any) -> None:
    """Agents may run as the worker's user: make its environment and memory unreadable to them (prctl(2), 4 is
    PR_SET_DUMPABLE). Pool processes inherit it; programs that are executed do not."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(4, 0, 0, 0, 0)


@task_revoked.connect
def _clean_up_after_revoke(request: Any = None, **_: Any) -> None:
    """A revoked task calls no error callback: send the run to cleanup ourselves."""
    args = getattr(request, "args", None) or []
    # An expired sweep is revoked too; its argument is the sweep's name, not a run.
    of_run = request is not None and str(request.task).startswith("forkyard.") and request.task != "forkyard.sweep"
    if of_run and args and isinstance(args[0], str):
        # By name: the tasks import the application, which imports this module.
        current_app.send_task("forkyard.cleanup", args=(args[0],), queue="gc", countdown=1)
