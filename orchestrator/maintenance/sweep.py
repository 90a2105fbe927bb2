"""What all sweeps share: a lock so that a second sweeper does nothing, and a record of what was found and done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from orchestrator.errors import ForkyardError
from orchestrator.secrets import redact
from orchestrator.steps.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a sweep looked at: what, what is done about it (or would be), and why."""

    sweep: str
    kind: str
    name: str
    action: str
    reason: str


Sweep = Callable[[Context, bool], Iterable[Finding]]
"""`run_once(context, dry_run)`: acts on what it finds, or with `dry_run` only says what it would do."""


def run_sweep(context: Context, name: str, sweep: Sweep, *, dry_run: bool = False) -> list[Finding] | None:
    """One pass under the sweep's lock; None if another sweeper has it. The record is kept even if the pass fails."""
    started_at = context.store.sweeps.now()
    findings: list[Finding] = []
    outcome = "failed"
    with context.store.sweeps.lock(name) as mine:
        if not mine:
            return None
        try:
            for finding in sweep(context, dry_run):
                findings.append(finding)
            outcome = "dry run" if dry_run else "done"
        except ForkyardError as exc:
            outcome = f"failed: {redact(str(exc))}"
            raise
        finally:
            if findings or not dry_run:
                context.store.sweeps.record(
                    name,
                    started_at=started_at,
                    outcome=outcome,
                    findings=[asdict(finding) for finding in findings],
                )
    return findings
