"""Runs and environments as states: what may follow what, and why. No I/O.

`docs/state_machine.md` draws both tables; a test holds the drawing to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from orchestrator.errors import IllegalTransition


class RunState(StrEnum):
    QUEUED = "queued"
    PROVISIONING = "provisioning"
    RUNNING = "running"
    MIGRATING = "migrating"
    CAPTURING = "capturing"
    SETTLING = "settling"
    CANDIDATE = "candidate"
    HELD = "held"
    MERGED = "merged"
    DISCARDED = "discarded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class EnvironmentState(StrEnum):
    CREATING = "creating"
    READY = "ready"
    RELEASING = "releasing"
    RELEASED = "released"
    LOST = "lost"


class Verdict(StrEnum):
    PROMOTE = "promote"
    DISCARD = "discard"
    HOLD = "hold"


class Promote(StrEnum):
    """What an experiment does with runs that passed: merge the best, all, none, or let a person decide."""

    BEST = "best"
    ALL = "all"
    NONE = "none"
    REVIEW = "review"


class Step(StrEnum):
    """The pipeline's steps, in order."""

    ACQUIRE = "acquire"
    PROVISION = "provision"
    RUN_AGENT = "run_agent"
    APPLY_MIGRATIONS = "apply_migrations"
    CAPTURE = "capture"
    SETTLE = "settle"

    @property
    def number(self) -> int:
        """Position in the pipeline, counted from 1; a run's `steps_done` reaches it when the step is done."""
        return list(Step).index(self) + 1


TERMINAL = frozenset({RunState.MERGED, RunState.DISCARDED, RunState.FAILED, RunState.CANCELLED})
RESTING = frozenset({RunState.CANDIDATE, RunState.HELD})
"""States that hold no slot and wait: for the batch's summary, or for a person."""

_LIVE = (
    RunState.QUEUED,
    RunState.PROVISIONING,
    RunState.RUNNING,
    RunState.MIGRATING,
    RunState.CAPTURING,
    RunState.SETTLING,
)

TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.QUEUED: frozenset({RunState.PROVISIONING}),
    RunState.PROVISIONING: frozenset({RunState.RUNNING}),
    RunState.RUNNING: frozenset({RunState.MIGRATING}),
    RunState.MIGRATING: frozenset({RunState.CAPTURING}),
    RunState.CAPTURING: frozenset({RunState.SETTLING}),
    RunState.SETTLING: frozenset(
        {RunState.MERGED, RunState.DISCARDED, RunState.CANDIDATE, RunState.HELD},
    ),
    RunState.CANDIDATE: frozenset({RunState.SETTLING, RunState.DISCARDED, RunState.CANCELLED}),
    RunState.HELD: frozenset({RunState.SETTLING, RunState.MERGED, RunState.DISCARDED, RunState.CANCELLED}),
    RunState.MERGED: frozenset(),
    RunState.DISCARDED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.CANCELLED: frozenset(),
}
for _state in _LIVE:
    TRANSITIONS[_state] |= {RunState.FAILED, RunState.CANCELLED}

ENVIRONMENT_TRANSITIONS: dict[EnvironmentState, frozenset[EnvironmentState]] = {
    EnvironmentState.CREATING: frozenset({EnvironmentState.READY, EnvironmentState.RELEASING, EnvironmentState.LOST}),
    EnvironmentState.READY: frozenset({EnvironmentState.RELEASING, EnvironmentState.LOST}),
    EnvironmentState.RELEASING: frozenset({EnvironmentState.RELEASED}),
    EnvironmentState.RELEASED: frozenset(),
    EnvironmentState.LOST: frozenset({EnvironmentState.RELEASING}),
}

STEP_STATE: dict[Step, RunState] = {
    Step.ACQUIRE: RunState.QUEUED,
    Step.PROVISION: RunState.PROVISIONING,
    Step.RUN_AGENT: RunState.RUNNING,
    Step.APPLY_MIGRATIONS: RunState.MIGRATING,
    Step.CAPTURE: RunState.CAPTURING,
    Step.SETTLE: RunState.SETTLING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A legal last (or resting) transition of a run, with its verdict and reason. Use the named constructors."""

    to: RunState
    verdict: Verdict
    reason: str

    @classmethod
    def merged(cls, reason: str) -> Self:
        return cls(to=RunState.MERGED, verdict=Verdict.PROMOTE, reason=reason)

    @classmethod
    def discarded(cls, reason: str) -> Self:
        return cls(to=RunState.DISCARDED, verdict=Verdict.DISCARD, reason=reason)

    @classmethod
    def failed(cls, reason: str) -> Self:
        return cls(to=RunState.FAILED, verdict=Verdict.DISCARD, reason=reason)

    @classmethod
    def cancelled(cls, reason: str = "cancelled by a person") -> Self:
        return cls(to=RunState.CANCELLED, verdict=Verdict.DISCARD, reason=reason)

    @classmethod
    def candidate(cls, reason: str = "waits for the batch's summary") -> Self:
        return cls(to=RunState.CANDIDATE, verdict=Verdict.HOLD, reason=reason)

    @classmethod
    def held(cls, reason: str) -> Self:
        return cls(to=RunState.HELD, verdict=Verdict.HOLD, reason=reason)

    @property
    def sources(self) -> tuple[RunState, ...]:
        """The states that this transition may start from."""
        return tuple(state for state, following in TRANSITIONS.items() if self.to in following)


def require(before: RunState, after: RunState) -> None:
    """Raises IllegalTransition unless `after` may follow `before`."""
    if after not in TRANSITIONS[before]:
        raise IllegalTransition(f"A run cannot go from {before} to {after}.")
