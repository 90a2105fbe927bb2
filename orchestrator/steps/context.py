"""What a step gets: the registry, providers, settings, and a way to send work on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import structlog

from orchestrator.errors import ForkyardError, QueueUnavailable
from orchestrator.experiments.spec import Experiment
from orchestrator.forks.base import Finding, Provider
from orchestrator.runs import Step
from orchestrator.settings import Settings, with_password
from orchestrator.steps.pulse import Pulse
from orchestrator.store import Baseline, ExperimentRow, Finished, Project, Run, Store, Woken

log = structlog.get_logger(__name__)


class Dispatcher(Protocol):
    """Sends work to workers. May lose, repeat or reorder it: the registry makes that harmless."""

    def start(self, experiment_id: int, run_ids: Sequence[str]) -> None:
        """Send a batch: one chain per run, and the summary when all have ended."""
        ...

    def resume(self, run_id: str, continuation: str | None, *, steps_done: int) -> None:
        """Send a run on: by its stored continuation, or without one as a chain of the steps that are left."""
        ...

    def summarise(self, experiment_id: int) -> None:
        """Send the summary of an experiment whose runs have ended."""
        ...

    def check(self) -> Iterable[Finding]:
        """Look at the broker and the workers: for `doctor`."""
        ...


# Every step of every run reads its experiment's file, which never changes once it is stored.
_read_spec = lru_cache(maxsize=64)(Experiment.from_json)


class Discard(ForkyardError):
    """The agent's work is not good enough to keep; the run ends as discarded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run with all that it belongs to."""

    run: Run
    project: Project
    experiment: ExperimentRow
    spec: Experiment
    baseline: Baseline


@dataclass(slots=True, kw_only=True)
class Context:
    """One process's view of the world; built once by the composition root. Not for sharing between threads,
    except for the registry, which is."""

    settings: Settings
    store: Store
    dispatcher: Dispatcher
    make_provider: Callable[[str, str, int], Provider]
    """(provider's name, fork host's conninfo with password, connections per agent) → the provider."""
    installation: str
    owner: str
    host: str
    pulse: Pulse = field(init=False, repr=False)
    _providers: dict[tuple[str, str, int], Provider] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.pulse = Pulse(self.settings.worker.heartbeat_seconds)

    def provider(self, project: Project) -> Provider:
        """The provider of the project's forks, with the host's password from this process's settings.

        Kept for the next call, as long as neither project nor password change.
        """
        password = self.settings.project_secrets(project.name).host_password
        made_from = (project.provider, with_password(project.host_conninfo, password), project.agent_connections)
        if made_from not in self._providers:
            self._providers[made_from] = self.make_provider(*made_from)
        return self._providers[made_from]

    def target_conninfo(self, project: Project) -> str:
        """The target's connection string, password included."""
        return with_password(project.target_conninfo, self.settings.project_secrets(project.name).target_password)

    def plan(self, run: Run) -> Plan:
        experiment = self.store.experiments.get(run.experiment_id)
        return Plan(
            run=run,
            project=self.store.projects.by_id(run.project_id),
            experiment=experiment,
            spec=_read_spec(json.dumps(experiment.spec)),
            baseline=self.store.projects.baseline(experiment.baseline_id),
        )

    def publish(self, finished: Finished | None, run_id: str | None = None) -> None:
        """Send on what a finished run set free, and the run's own continuation, so that its chord can complete.

        What is lost here is repaired by rescue.
        """
        if finished is None:
            return
        self.send_woken(finished.woken)
        with _lost_is_repaired():
            if run_id is not None and finished.continuation:
                self.dispatcher.resume(run_id, finished.continuation, steps_done=len(Step))
            if finished.batch_done:
                self.dispatcher.summarise(finished.experiment_id)

    def send_promoted(self, run_id: str) -> None:
        """Send a run whose promotion is recorded to be merged. What is lost here is repaired by rescue."""
        with _lost_is_repaired():
            self.dispatcher.resume(run_id, None, steps_done=5)

    def send_woken(self, woken: Sequence[Woken]) -> None:
        with _lost_is_repaired():
            for one in woken:
                self.dispatcher.resume(one.run_id, one.continuation, steps_done=Step.ACQUIRE.number)


@contextmanager
def _lost_is_repaired() -> Iterator[None]:
    try:
        yield
    except QueueUnavailable as exc:
        log.warning("not sent; rescue will send it", error=str(exc))
