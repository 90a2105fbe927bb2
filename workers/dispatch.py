"""How the domain reaches the workers: the Dispatcher that Forkyard's settings name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from celery.canvas import Signature
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from orchestrator.errors import QueueUnavailable
from orchestrator.forks.base import Finding
from orchestrator.secrets import redact
from orchestrator.settings import Settings
from workers.app import app, configure
from workers.canvas import batch, rest_of, run_chain
from workers.health import examine
from workers.tasks import summarise


class CeleryDispatcher:
    """Publishes chains, chords and summaries. Raises QueueUnavailable when the broker does not answer."""

    def __init__(self, settings: Settings) -> None:
        configure(settings)
        _read_no_results(app.backend)

    def start(self, experiment_id: int, run_ids: Sequence[str]) -> None:
        """One chord for the batch."""
        with _translated():
            app.backend.client.ping()  # a chord would try for twenty seconds before it says that nobody answers
        _publish(batch(experiment_id, run_ids))

    def resume(self, run_id: str, continuation: str | None, *, steps_done: int) -> None:
        """What is left of the stored message, or a new chain of the steps that are left."""
        if continuation:
            _publish(rest_of(continuation, steps_done=steps_done))
        else:
            _publish(run_chain(run_id, steps_done=steps_done))

    def summarise(self, experiment_id: int) -> None:
        _publish(summarise.si(experiment_id).set(queue="gc"))

    def check(self) -> Iterable[Finding]:
        with _translated():
            yield from examine(app)


def _publish(signature: Signature) -> None:
    with _translated():
        signature.apply_async()


def _read_no_results(backend: Any) -> None:
    """Who publishes here waits for no result, the registry tells how it went: so no subscription to results, which
    costs a connection, blocks while the broker is away, and fails noisily at interpreter exit."""
    backend.on_task_call = lambda *_: None
    backend.add_pending_result = lambda result, *_, **__: result
    backend.remove_pending_result = lambda result: result


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, RedisError, OSError) as exc:
        raise QueueUnavailable(f"The broker does not answer: {redact(str(exc))}") from None
