"""Prune: drop old events, sweep records and artifacts that nothing refers to."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.maintenance.sweep import Finding
from orchestrator.steps.context import Context

NAME = "prune"


def run_once(context: Context, dry_run: bool) -> Iterator[Finding]:
    days = context.settings.sweeps.prune_after_days
    if dry_run:
        return
    counts = {
        "events": context.store.runs.prune_events(days=days),
        "sweeps": context.store.sweeps.prune(days=days),
        "artifacts": context.store.artifacts.prune(days=days),
    }
    for kind, count in counts.items():
        if count:
            yield Finding(sweep=NAME, kind=kind, name=str(count), action="deleted", reason=f"older than {days} days")
