"""What `doctor` wants to know of broker and workers."""

from __future__ import annotations

from collections.abc import Iterator

from celery import Celery
from redis.exceptions import ResponseError

from orchestrator.forks.base import Finding

QUEUES = ("agents", "steps", "gc")


def examine(app: Celery) -> Iterator[Finding]:
    """Broker's answer, persistence and eviction policy; a consumer for every queue."""
    client = app.backend.client
    client.ping()
    yield Finding(subject="broker", ok=True, detail="answers")
    yield _server_setting(client, "maxmemory-policy", "noeviction", "an evicting server loses messages")
    yield _server_setting(client, "appendonly", "yes", "a restart loses messages; the registry brings them back")
    active = app.control.inspect(timeout=2).active_queues() or {}
    served = {queue["name"] for queues in active.values() for queue in queues}
    for queue in QUEUES:
        workers = sorted(name for name, queues in active.items() if any(q["name"] == queue for q in queues))
        fix = "" if workers else f"start a worker: celery -A workers.app worker -Q {queue}"
        yield Finding(
            subject=f"queue {queue}",
            ok=queue in served,
            detail=f"served by {', '.join(workers)}" if workers else "no worker serves it",
            fix=fix,
        )


def _server_setting(client: object, name: str, wanted: str, why: str) -> Finding:
    try:
        found = str(client.config_get(name).get(name, "?"))  # type: ignore[attr-defined]
    except ResponseError:
        return Finding(subject=f"broker {name}", ok=True, detail="not ours to read (a managed server)")
    ok = found == wanted
    return Finding(subject=f"broker {name}", ok=ok, detail=found, fix="" if ok else f"set it to {wanted}: {why}")
