"""The shapes of work: a chain per run, a chord per batch, cleanup as error callback on its own queue."""

from __future__ import annotations

from collections.abc import Sequence

from celery import chain, chord
from celery.canvas import Signature
from kombu.utils.json import loads

from workers.app import app
from workers.tasks import STEP_TASKS, cleanup, summarise


def run_chain(run_id: str, *, steps_done: int = 0) -> Signature:
    """The steps that are left, every one immutable, carrying the run's id alone, each with cleanup on failure.

    With no step left it is the last one again, which then does nothing.
    """
    left = STEP_TASKS[min(steps_done, len(STEP_TASKS) - 1) :]
    steps = chain(*(task.si(run_id) for task in left))
    steps.link_error(cleanup.si(run_id).set(queue="gc"))
    return steps


def rest_of(continuation: str, *, steps_done: int) -> Signature:
    """The stored message of a run's chain, moved on to the first step that is not done; with none left, the last.

    The rest keeps its ids, its chord and its error callbacks, so that the batch's chord counts it.
    """
    stored = app.signature(loads(continuation))  # type: ignore[no-untyped-call]
    names = [task.name for task in STEP_TASKS]
    rest = list(stored.options.get("chain") or ())
    skipped = min(min(steps_done, len(names) - 1) - names.index(stored.task), len(rest))
    if skipped <= 0:
        return stored
    # Celery keeps the chain in reverse: its last entry comes next.
    step = app.signature(rest[-skipped])
    origin = {key: stored.options.get(key) for key in ("root_id", "parent_id")}
    return step.set(chain=rest[:-skipped], **origin)


def batch(experiment_id: int, run_ids: Sequence[str]) -> Signature:
    """All runs, then the summary. A failed header makes the chord call the body's error callback instead: it is the
    same summary, which acts only when no run is live."""
    body = summarise.si(experiment_id).set(queue="gc")
    return chord([run_chain(run_id) for run_id in run_ids], body.on_error(summarise.si(experiment_id).set(queue="gc")))
