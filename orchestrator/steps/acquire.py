"""Acquire: one of the project's N slots, or park until somebody frees one. No polling, no blocked worker."""

from __future__ import annotations

from orchestrator.runs import RESTING, Step
from orchestrator.steps.context import Context
from orchestrator.steps.driver import Outcome


def acquire(context: Context, run_id: str, continuation: str | None = None) -> Outcome:
    """DONE once the run holds a slot; IGNORED where it has been parked with its continuation."""
    run = context.store.runs.get(run_id)
    if run.finished or run.state in RESTING or run.steps_done >= Step.ACQUIRE.number:
        return Outcome.DONE
    has_slot = context.store.runs.acquire(
        run_id,
        owner=context.owner,
        continuation=continuation,
        dispatch_seconds=context.settings.worker.dispatch_seconds,
    )
    return Outcome.DONE if has_slot else Outcome.IGNORED
