"""How every step runs: claim under a new epoch, act with a heartbeat, commit under the same epoch.

A failed run is not an exception here: it is recorded, later steps do nothing, and settle ends it. Exceptions that
leave this module are for the task queue: Retry asks for another try, the rest is unexpected.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from types import TracebackType
from typing import Self

import structlog

from orchestrator.errors import Cancelled, Fenced, ForkyardError, RegistryUnavailable
from orchestrator.runs import Ending, RunState, Step
from orchestrator.secrets import redact
from orchestrator.steps.context import Context, Discard
from orchestrator.store import Claim

log = structlog.get_logger(__name__)

COMMIT_PAUSE_SECONDS = 0.5


class Outcome(Enum):
    """What a task does next: DONE lets the chain go on, PARKED ends it here because the registry keeps what is left of
    it, IGNORED leaves the run to whoever owns it."""

    DONE = auto()
    PARKED = auto()
    IGNORED = auto()


class Heartbeat:
    """Extends a claim's lease while a step acts, from the process's pulse, and learns of cancels and lost claims."""

    def __init__(self, context: Context, claim: Claim) -> None:
        self._context = context
        self._claim = claim
        self._cancel_requested = claim.run.cancel_requested_at is not None
        self._fenced = False

    def __enter__(self) -> Self:
        self._context.pulse.add(self._beat)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._context.pulse.remove(self._beat)

    def should_stop(self) -> bool:
        """A person asked for the end, or a newer epoch owns the run."""
        return self._cancel_requested or self._fenced

    def raise_if_stopped(self) -> None:
        """Raises Fenced or Cancelled: call it between the parts of a long step."""
        if self._fenced:
            raise Fenced(run=self._claim.run.id, epoch=self._claim.epoch)
        if self._cancel_requested:
            raise Cancelled()

    def _beat(self) -> None:
        """A beat that is under way when the step commits finds no owner under its epoch, and writes nothing."""
        if self._fenced:
            return
        lease_seconds = self._context.settings.worker.lease_seconds
        try:
            asked = self._context.store.runs.heartbeat(self._claim, lease_seconds=lease_seconds)
            self._cancel_requested = self._cancel_requested or asked
        except Fenced:
            self._fenced = True
        except ForkyardError as exc:
            log.warning("heartbeat failed", run=self._claim.run.id, error=str(exc))


Act = Callable[[Context, Claim, Heartbeat], "Ending | None"]
"""A step's own work. Returns how the run ends (settle), or None to go on."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the pipeline and its work."""

    step: Step
    act: Act
    runs_when_ending: bool = False


def perform(context: Context, stage: Stage, run_id: str) -> Outcome:
    """Run one step of one run, once: safe to call twice, at the same time or after a crash.

    Raises a retryable ForkyardError for the task queue to try again; any other error ends the run as failed.
    """
    worker = context.settings.worker
    claim = context.store.runs.claim(
        run_id,
        stage.step,
        owner=context.owner,
        host=context.host,
        lease_seconds=worker.lease_seconds,
    )
    if claim is None:
        return _without_claim(context, stage.step, run_id)
    try:
        _act(context, stage, claim)
    except Fenced:
        log.warning("fenced", run=run_id, step=stage.step, epoch=claim.epoch)
        return Outcome.IGNORED
    return Outcome.DONE


def _act(context: Context, stage: Stage, claim: Claim) -> None:
    run = claim.run
    if run.ending is not None and not stage.runs_when_ending:
        _commit(context, claim, stage.step, None, outcome="passed")
    elif run.cancel_requested_at is not None and not stage.runs_when_ending:
        _commit(context, claim, stage.step, Ending.cancelled())
    else:
        _work(context, stage, claim)


def _work(context: Context, stage: Stage, claim: Claim) -> None:
    ending: Ending | None
    try:
        with Heartbeat(context, claim) as heartbeat:
            ending = stage.act(context, claim, heartbeat)
    except (Fenced, RegistryUnavailable):
        raise
    except Cancelled:
        ending = Ending.cancelled()
    except Discard as exc:
        ending = Ending.discarded(str(exc))
    except ForkyardError as exc:
        if exc.retryable and claim.run.step_tries < context.settings.worker.max_step_tries:
            context.store.runs.release_claim(claim, reason=redact(str(exc)), delay_seconds=30)
            raise
        ending = Ending.failed(redact(str(exc)))
    except Exception as exc:
        log.exception("unexpected error", run=claim.run.id, step=stage.step)
        ending = Ending.failed(redact(f"internal error in {stage.step}: {type(exc).__name__}: {exc}"))
    _commit(context, claim, stage.step, ending)


def _commit(context: Context, claim: Claim, step: Step, ending: Ending | None, *, outcome: str = "done") -> None:
    """What the step did is done: no agent runs twice because the registry was away for a moment when it ended."""
    deadline = time.monotonic() + context.settings.worker.lease_seconds / 2
    while True:
        try:
            return _write(context, claim, step, ending, outcome)
        except RegistryUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(COMMIT_PAUSE_SECONDS)


def _write(context: Context, claim: Claim, step: Step, ending: Ending | None, outcome: str) -> None:
    if step is Step.SETTLE and ending is not None:
        dispatch_seconds = context.settings.worker.dispatch_seconds
        context.publish(context.store.runs.finish(claim.run.id, ending, claim=claim, dispatch_seconds=dispatch_seconds))
        return
    context.store.runs.commit_step(
        claim,
        step,
        dispatch_seconds=context.settings.worker.dispatch_seconds,
        ending=ending.to if ending else None,
        outcome=ending.to.value if ending else outcome,
        reason=ending.reason if ending else None,
    )


def _without_claim(context: Context, step: Step, run_id: str) -> Outcome:
    run = context.store.runs.get(run_id)
    resting = run.finished or run.state in (RunState.CANDIDATE, RunState.HELD)
    if resting or run.steps_done >= step.number:
        return Outcome.DONE
    return Outcome.IGNORED
