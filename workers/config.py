"""Celery's settings, each for a measured reason (docs/discussions.md, "Celery")."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from orchestrator.secrets import with_url_password
from orchestrator.settings import Settings, SweepSettings

QUEUES = {
    "forkyard.acquire": "steps",
    "forkyard.provision": "steps",
    "forkyard.run_agent": "agents",
    "forkyard.apply_migrations": "steps",
    "forkyard.capture": "steps",
    "forkyard.settle": "steps",
    "forkyard.cleanup": "gc",
    "forkyard.summarise": "gc",
    "forkyard.sweep": "gc",
}
"""Queue by task: cleanup never waits behind agents."""


def celery_config(settings: Settings) -> dict[str, Any]:
    """The configuration of the Celery app.

    Early acknowledgement, nothing prefetched: a message is unacknowledged for milliseconds only, so that no run of
    any length is delivered twice; crashed work comes back through the registry's leases, not through redelivery.
    """
    broker = settings.broker
    url = with_url_password(broker.url, broker.password.get_secret_value() if broker.password else None)
    transport = {
        "visibility_timeout": broker.visibility_timeout_seconds,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 25,
    }
    return {
        "broker_url": url,
        "broker_transport_options": {**transport, "global_keyprefix": f"{broker.key_prefix}broker:"},
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "result_backend": url,
        "result_backend_transport_options": {**transport, "global_keyprefix": f"{broker.key_prefix}results:"},
        "result_expires": timedelta(days=1),
        "result_chord_expires": timedelta(days=7),
        "redis_socket_timeout": 30,
        "redis_socket_connect_timeout": 5,
        "redis_socket_keepalive": True,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": False,
        "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0.1, "interval_step": 0.3},
        "task_default_queue": "steps",
        "task_routes": {name: {"queue": queue} for name, queue in QUEUES.items()},
        "task_send_sent_event": True,
        "task_track_started": False,
        "worker_send_task_events": True,
        "worker_disable_prefetch": True,
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_redirect_stdouts": False,
        "beat_schedule": beat_schedule(settings.sweeps),
        "beat_enable_remote_control": True,
        "timezone": "UTC",
        "enable_utc": True,
    }


def beat_schedule(sweeps: SweepSettings) -> dict[str, dict[str, Any]]:
    """One entry per sweep. A message that waited a whole period expires: an outage leaves no backlog."""
    periods = {
        "expire": sweeps.expire_every_seconds,
        "orphans": sweeps.expire_every_seconds,
        "workspaces": sweeps.expire_every_seconds,
        "rescue": sweeps.rescue_every_seconds,
        "pool": sweeps.pool_every_seconds,
        "prune": 24 * 3600,
    }
    return {
        name: {
            "task": "forkyard.sweep",
            "schedule": timedelta(seconds=period),
            "args": (name,),
            "options": {"expires": period, "queue": "gc"},
        }
        for name, period in periods.items()
    }
