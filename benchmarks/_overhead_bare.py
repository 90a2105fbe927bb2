"""The peer of overhead.py: Celery alone. Six empty tasks a chain, on the same server under the same settings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from celery import Celery, chain, chord
from celery.canvas import Signature

from orchestrator.settings import Settings, load
from workers.config import QUEUES, celery_config

app = Celery("bare")
END_KEY = "bare:end:{}"


def configuration(settings: Settings) -> dict[str, Any]:
    """Forkyard's own, without its schedule, its tasks' names changed, in a database of its own on the same server."""
    server, _, _ = settings.broker.url.rpartition("/")
    broker = settings.broker.model_copy(update={"url": f"{server}/1"})
    found = celery_config(settings.model_copy(update={"broker": broker}))
    found["task_routes"] = {name.replace("forkyard", "bare"): {"queue": queue} for name, queue in QUEUES.items()}
    del found["beat_schedule"]
    return found


app.add_defaults(lambda: configuration(load()))


@app.task(name="bare.acquire")
def acquire(run_id: str) -> None: ...


@app.task(name="bare.provision")
def provision(run_id: str) -> None: ...


@app.task(name="bare.run_agent")
def run_agent(run_id: str) -> None: ...


@app.task(name="bare.apply_migrations")
def apply_migrations(run_id: str) -> None: ...


@app.task(name="bare.capture")
def capture(run_id: str) -> None: ...


@app.task(name="bare.settle")
def settle(run_id: str) -> None: ...


@app.task(name="bare.summarise")
def summarise(batch: str) -> None:
    """Writes down when the batch ended."""
    app.backend.client.set(END_KEY.format(batch), repr(time.time()), ex=600)


STEPS = (acquire, provision, run_agent, apply_migrations, capture, settle)


def batch(name: str, run_ids: Sequence[str], *, store_results: bool) -> Signature:
    """A chord of chains, as plain as Celery has it."""

    def signature(task: Any, run_id: str) -> Signature:
        return task.si(run_id) if store_results else task.si(run_id).set(ignore_result=True)

    header = [chain(*(signature(task, run_id) for task in STEPS)) for run_id in run_ids]
    return chord(header, summarise.si(name))
