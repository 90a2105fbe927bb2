"""The Celery application: `celery -A workers.app worker -Q agents`, `… beat`, `… flower`."""

from __future__ import annotations

from typing import Any

from celery import Celery

from orchestrator.settings import Settings, load
from workers.config import celery_config

app = Celery("forkyard", include=["workers.tasks"])

_chosen: list[Settings] = []


def configure(settings: Settings) -> None:
    """Use these settings instead of the process's own; before the first message is sent."""
    _chosen[:] = [settings]
    if app.configured:
        app.conf.update(celery_config(settings))


def _defaults() -> dict[str, Any]:
    """Read when Celery first needs its configuration, so that importing this module reads no file."""
    return celery_config(_chosen[0] if _chosen else load())


app.add_defaults(_defaults)

from workers import signals  # noqa: E402, F401  (connects the signal handlers)
