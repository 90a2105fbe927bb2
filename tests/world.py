"""A small installation without workers: a real registry, forks in memory, messages that a test delivers itself."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from orchestrator.capture.fingerprint import read_schema
from orchestrator.experiments.plan import plan
from orchestrator.experiments.spec import Experiment
from orchestrator.forks.base import Login, Stamp
from orchestrator.forks.names import resource_name
from orchestrator.runs import Step
from orchestrator.secrets import split_password
from orchestrator.settings import Settings
from orchestrator.steps.context import Context
from orchestrator.steps.environment import provide, provide_for_pool, provide_scratch
from orchestrator.steps.identity import host_name, owner_name
from orchestrator.store import Baseline, Claim, Environment, ExperimentRow, Project, Store
from orchestrator.testing.fake_provider import FakeProvider
from orchestrator.testing.fake_server import FakeServer
from orchestrator.testing.recording_dispatcher import RecordingDispatcher
from tests.registry import execute, make_project, walk_to

KEY = b"world"


def until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    """Wait for another thread's or process's work."""
    waiting = threading.Event()
    return any(condition() or waiting.wait(0.02) for _ in range(int(seconds / 0.02)))


class StandIn(FakeProvider):
    """The fake's books; wherever a step looks into a database, it sees one real database that stands in for all."""

    def __init__(self, server: FakeServer, *, installation: str, stand_in: str) -> None:
        super().__init__(server, installation=installation, key=KEY)
        self._stand_in = stand_in
        self._source = server.add_target("source", {"origin": "target"})

    def create_baseline(self, name: str, *, source: str, stamp: Stamp) -> None:
        del source
        super().create_baseline(name, source=self._source, stamp=stamp)

    def baseline_conninfo(self, name: str) -> str:  # noqa: ARG002
        return self._stand_in

    def inspect_conninfo(self, name: str) -> str:  # noqa: ARG002
        return self._stand_in

    def conninfo(self, name: str, login: Login) -> str:  # noqa: ARG002
        return self._stand_in


@cache
def _fingerprint(conninfo: str) -> str:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        return read_schema(connection).fingerprint


class World:
    """One project with one sealed baseline; `stand_in` is its target as well as what every fork looks like."""

    def __init__(self, registry: str, stand_in: str, folder: Path, **settings: Any) -> None:
        self.registry = registry
        self.store = Store(registry)
        self.server = FakeServer()
        self.dispatcher = RecordingDispatcher()
        installation = self.store.projects.installation()
        self.provider = StandIn(self.server, installation=installation, stand_in=stand_in)
        target, password = split_password(stand_in)
        self.context = Context(
            settings=Settings(
                state_dir=folder,
                installation_key=KEY.decode(),
                projects={"shop": {"target_password": password}},
                **settings,
            ),
            store=self.store,
            dispatcher=self.dispatcher,
            make_provider=lambda *_: self.provider,
            installation=installation,
            owner=owner_name(),
            host=host_name(),
        )
        self._names = (f"clean-{number}" for number in itertools.count(1))
        self.fingerprint = _fingerprint(stand_in)
        self._target = target
        self.project = self.set_project()
        self.baseline = self.new_baseline()

    def set_project(self, name: str = "shop", **changes: Any) -> Project:
        """Add the project or change its limits."""
        return make_project(self.store, name, **{"provider": "fake", "target_conninfo": self._target, **changes})

    def set_limits(self, **sweeps: Any) -> None:
        """Change the settings of the sweeps."""
        changed = self.context.settings.sweeps.model_copy(update=sweeps)
        self.context.settings = self.context.settings.model_copy(update={"sweeps": changed})

    def new_baseline(self, project: Project | None = None, label: str | None = None) -> Baseline:
        """The project's next sealed baseline."""
        project = project or self.project
        prefix = resource_name(self.context.installation, "baseline", 1)[:-1]
        row = self.store.projects.intend_baseline(project.id, label=label, prefix=prefix)
        stamp = Stamp(installation=self.context.installation, project=project.name, kind="baseline", resource_id=row.id)
        self.provider.create_baseline(row.name, source="", stamp=stamp)
        return self.store.projects.seal_baseline(
            row.id, fingerprint=self.fingerprint, target_fingerprint=self.fingerprint
        )

    def opened(self) -> Context:
        """Another process's view of the same world, with connections of its own; the caller closes its store."""
        return replace(self.context, store=Store(self.registry))

    def worker(self, owner: str, dispatcher: RecordingDispatcher | None = None) -> Context:
        """The same world as another worker sees it."""
        return replace(self.context, owner=owner, dispatcher=dispatcher or self.dispatcher)

    def batch(
        self, *, runs: int = 1, parallel: int = 4, command: str = "true", send: bool = False, **spec: Any
    ) -> tuple[ExperimentRow, list[str]]:
        """An experiment of one variant, `sh -c <command>`, as `submit` records it; with `send`, on its way."""
        variants: Mapping[str, Any] = {"careful": {"agent": {"command": ["sh", "-c", command]}}}
        fields = {"experiment": next(self._names), "project": "shop", "repeats": runs, "variants": variants, **spec}
        experiment = Experiment.from_json(json.dumps({"format": 1, "promote": "none", **fields}))
        row, ids = self.store.experiments.create(
            name=experiment.name,
            spec=json.loads(experiment.to_json()),
            files={},
            runs=[(run.variant, run.repeat, run.seed) for run in plan(experiment)],
            dispatch_seconds=30,
            project_id=self.project.id,
            baseline_id=self.baseline.id,
            promote=experiment.promote.value,
            parallel=parallel,
        )
        if send:
            self.dispatcher.start(row.id, ids)
        return row, ids

    def run(self, **spec: Any) -> str:
        """A run of its own."""
        return self.batch(**spec)[1][0]

    def at(self, step: Step, run_id: str | None = None, *, owner: str | None = None, **spec: Any) -> Claim:
        """A run that is claimed for `step`, by this process where no other owner is named."""
        return walk_to(self.store, run_id or self.run(**spec), step, owner or self.context.owner)

    def fork_of(self, claim: Claim) -> Environment:
        """The claimed run's fork, made as provision makes it."""
        return provide(self.context, self.context.plan(claim.run))

    def scratch(self, claim: Claim) -> Environment:
        """A scratch fork, as capture makes it."""
        return provide_scratch(self.context, self.context.plan(claim.run))

    def pooled(self) -> Environment:
        return provide_for_pool(self.context, self.project, self.baseline)

    def environment(self, found: Environment) -> Environment:
        """As it stands now."""
        return self.store.environments.by_name([found.name])[found.name]

    def forks(self) -> set[str]:
        """The databases of forks that exist."""
        prefix = resource_name(self.context.installation, "fork", 1)[:-1]
        return {name for name in self.server.databases if name.startswith(prefix)}

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """One statement on the registry, behind the store's back."""
        return execute(self.registry, statement, *values)

    def pass_time(self, hours: float = 0, *, seconds: float = 0) -> None:
        """Everything that is on record has happened so much earlier."""
        columns = {
            "environments": ("expires_at", "created_at", "ready_at", "release_requested_at"),
            "runs": ("lease_until", "created_at", "started_at", "finished_at"),
            "experiments": ("created_at", "summarising_until"),
            "baselines": ("created_at",),
            "artifacts": ("created_at",),
            "sweeps": ("started_at", "finished_at"),
        }
        past = hours * 3600 + seconds
        moved = {
            table: ", ".join(f"{name} = {name} - make_interval(secs => {past})" for name in names)
            for table, names in columns.items()
        }
        self.execute("; ".join(f"UPDATE {table} SET {changes}" for table, changes in moved.items()))

    def close(self) -> None:
        self.store.close()
