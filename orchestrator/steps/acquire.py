"""Acquire: one of the project's N slots, or park until somebody frees one. No polling, no blocked worker."""

from __future__ import annotations

from orchestrator.steps.context import Context
from orchestrator.steps.driver import Outcome


def acquire(context: Context, run_id: str, continuation: str | None = None) -> Outcome:
    """DONE once the run holds a slot, or is past needing one; PARKED where the registry keeps its continuation."""
    has_slot = context.store.runs.acquire(
        run_id,
        owner=context.owner,
        continuation=continuation,
        dispatch_seconds=context.settings.worker.dispatch_seconds,
    )
    return Outcome.DONE if has_slot else Outcome.PARKED
