"""Rows of the registry as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

from orchestrator.runs import TERMINAL, EnvironmentState, RunState


class _Record:
    __slots__ = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The record from a row that holds at least its columns."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(_Record):
    id: int
    name: str
    provider: str
    target_conninfo: str
    host_conninfo: str
    max_parallel: int
    ttl_seconds: int
    pool_size: int
    agent_connections: int
    restart_interrupted: bool
    redis_url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline(_Record):
    id: int
    project_id: int
    number: int
    label: str | None
    name: str
    state: str
    fingerprint: str | None
    target_fingerprint: str | None
    reason: str | None
    created_at: datetime
    sealed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentRow(_Record):
    id: int
    handle: str
    name: str
    project_id: int
    baseline_id: int
    spec: dict[str, Any]
    promote: str
    parallel: int
    files: dict[str, str]
    created_at: datetime
    cancel_requested_at: datetime | None
    finished_at: datetime | None
    summary_tries: int
    best_run: str | None
    summary: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(_Record):
    id: str
    serial: int
    experiment_id: int
    project_id: int
    variant: str
    repeat: int
    seed: int
    state: RunState
    steps_done: int
    epoch: int
    step_tries: int
    rescues: int
    agent_starts: int
    owner: str | None
    host: str | None
    process_group: int | None
    lease_until: datetime
    continuation: str | None
    parked_at: datetime | None
    slot_held: bool
    ending: RunState | None
    verdict: str | None
    reason: str | None
    cancel_requested_at: datetime | None
    changeset_hash: str | None
    log_hash: str | None
    baseline_fingerprint: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    agent_seconds: float | None
    notes: str | None
    merged_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", RunState(self.state))
        if self.ending is not None:
            object.__setattr__(self, "ending", RunState(self.ending))

    @property
    def finished(self) -> bool:
        return self.state in TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment(_Record):
    id: int
    name: str
    purpose: str
    project_id: int
    baseline_id: int
    run_id: str | None
    state: EnvironmentState
    kept: bool
    reason: str | None
    expires_at: datetime
    created_at: datetime
    ready_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", EnvironmentState(self.state))


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to act on a run until the lease ends: every write carries its epoch."""

    run: Run
    step: str
    owner: str

    @property
    def epoch(self) -> int:
        return self.run.epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Woken:
    """A run that has just been given a slot and must be sent on, to the step after acquire."""

    run_id: str
    continuation: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What follows from a run's last (or resting) transition."""

    experiment_id: int
    continuation: str | None
    woken: tuple[Woken, ...]
    batch_done: bool
    """No run of the experiment is live any more: summarise."""
