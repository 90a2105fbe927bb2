"""Celery's signals: structured logs without secrets, and a second path to cleanup for revoked tasks."""

from __future__ import annotations

from typing import Any

from celery.signals import setup_logging, task_revoked

from orchestrator.logs import configure_logging


@setup_logging.connect
def _configure_logging(loglevel: int | str = "INFO", **_: Any) -> None:
    configure_logging(loglevel)


@task_revoked.connect
def _clean_up_after_revoke(request: Any = None, **_: Any) -> None:
    """A revoked task calls no error callback: send the run to cleanup ourselves."""
    args = getattr(request, "args", None) or []
    if request is not None and str(request.task).startswith("forkyard.") and args and isinstance(args[0], str):
        from workers.tasks import cleanup  # noqa: PLC0415  (tasks import this module's app)

        cleanup.si(args[0]).set(queue="gc", countdown=1).apply_async()
