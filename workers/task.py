"""The base of all tasks: nothing secret leaves it, and only here becomes `retryable` a retry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import structlog
from celery import Task
from celery.exceptions import Ignore, Retry
from kombu.utils.json import dumps

from orchestrator.errors import ForkyardError
from orchestrator.secrets import redact
from orchestrator.steps.driver import Outcome

log = structlog.get_logger(__name__)

MAX_RETRIES = 6
MAX_COUNTDOWN_SECONDS = 60


class StepFailed(Exception):
    """A step's failure with secrets removed: what the result backend, the events and the logs may hold."""


class ForkyardTask(Task):
    """Retries what may pass, with a growing delay; hides everything else behind a redacted message."""

    abstract = True
    max_retries = MAX_RETRIES

    def continuation(self) -> str | None:
        """This message as JSON: the rest of its chain, its chord, its error callbacks. Published again, it goes on
        exactly here. None for a lone message, which leads nowhere and must not take the place of one that does."""
        if not self.request.chain:
            return None
        return str(dumps(self.signature_from_request(self.request)))  # type: ignore[no-untyped-call]

    def attempt(self, work: Callable[[], None]) -> None:
        """Do a task's work; what it raises becomes a retry or a redacted failure."""
        try:
            work()
            return
        except (Ignore, Retry):
            raise
        except Exception as exc:
            caught = exc
        if not isinstance(caught, ForkyardError):
            log.error("unexpected error", task=self.name, exc_info=caught)
        # Out here and not in the handler: Celery sends tracebacks to Flower, and there they would drag along, word for
        # word, the error that is being handled.
        self._fail(caught)

    def _fail(self, exc: Exception) -> NoReturn:
        failure = StepFailed(redact(f"{type(exc).__name__}: {exc}"))
        if isinstance(exc, ForkyardError) and exc.retryable:
            countdown = min(MAX_COUNTDOWN_SECONDS, 2**self.request.retries)
            raise self.retry(exc=failure, countdown=countdown)
        raise failure


def settle_outcome(task: ForkyardTask, outcome: Outcome) -> None:
    """Let the chain go on; or end this message here, done, because the registry keeps the rest of a parked run's
    chain; or leave the run to its owner."""
    if outcome is Outcome.PARKED:
        task.request.chain = None
    elif outcome is Outcome.IGNORED:
        raise Ignore


def options(**more: Any) -> dict[str, Any]:
    """Options that every task shares: `bind=True` makes an error callback a message of its own. How a task went is in
    the registry, so no result is stored (two round trips a task); the chord counts its parts all the same."""
    return {"bind": True, "base": ForkyardTask, "ignore_result": True, **more}
