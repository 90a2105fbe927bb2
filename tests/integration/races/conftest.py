"""A registry, a target, a provider in memory and a queue that only records: two actors can be led into each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from orchestrator.experiments.load import load
from orchestrator.forks.base import Stamp
from orchestrator.forks.names import resource_name
from orchestrator.merge import marker
from orchestrator.runs import Ending, Step
from orchestrator.secrets import split_password
from orchestrator.settings import ProjectSecrets, Settings
from orchestrator.steps.context import Context
from orchestrator.store import Claim, Environment, Project, Store, upgrade
from orchestrator.testing.fake_provider import FakeProvider
from orchestrator.testing.fake_server import FakeServer
from orchestrator.testing.recording_dispatcher import RecordingDispatcher

KEY = b"k" * 32

EXPERIMENT = """
experiment: clean
project: shop
task: Clean up.
promote: none
variants:
  careful:
    agent: {command: [python, agent.py]}
"""


@dataclass(slots=True, kw_only=True)
class World:
    """An installation without workers, and the hands of everybody in it."""

    context: Context
    registry: str
    target: str
    project: Project
    provider: FakeProvider
    dispatcher: RecordingDispatcher
    experiment: Path

    @property
    def store(self) -> Store:
        return self.context.store

    def batch(self, *, runs: int = 2, promote: str = "best", name: str = "clean") -> list[str]:
        """An experiment of that many runs on the newest baseline; their ids."""
        baseline = self.store.projects.find_baseline(self.project, "latest")
        _, ids = self.store.experiments.create(
            name=name,
            spec=json.loads(load(self.experiment).to_json()),
            files={},
            runs=[("careful", repeat, repeat) for repeat in range(1, runs + 1)],
            dispatch_seconds=30,
            project_id=self.project.id,
            baseline_id=baseline.id,
            promote=promote,
            parallel=4,
        )
        return ids

    def claim(self, run_id: str, step: Step, *, owner: str = "elsewhere:1:1") -> Claim:
        found = self.store.runs.claim(run_id, step, owner=owner, host="elsewhere", lease_seconds=60)
        assert found is not None
        return found

    def walk_to(self, run_id: str, step: Step) -> Claim:
        """Through the pipeline up to a live claim of `step`."""
        assert self.store.runs.acquire(run_id, owner="elsewhere:1:1", continuation="{}", dispatch_seconds=30)
        for earlier in list(Step)[1 : step.number - 1]:
            self.store.runs.commit_step(self.claim(run_id, earlier), earlier, dispatch_seconds=30)
        return self.claim(run_id, step)

    def settle(self, run_id: str, ending: Ending) -> None:
        self.store.runs.finish(run_id, ending, claim=self.walk_to(run_id, Step.SETTLE))

    def fork(self, run_id: str | None = None, *, purpose: str = "run") -> Environment:
        """A ready fork at the provider, with its rows in the registry."""
        baseline = self.store.projects.find_baseline(self.project, "latest")
        made = self.store.environments.intend(
            prefix=resource_name(self.context.installation, "fork", 1)[:-1],
            purpose=purpose,
            project_id=self.project.id,
            baseline_id=baseline.id,
            run_id=run_id,
            ttl_seconds=3600,
        )
        stamp = Stamp(
            installation=self.context.installation,
            project="shop",
            kind="fork",
            resource_id=made.id,
            run=run_id,
            expires_at=made.expires_at,
        )
        self.provider.create(made.name, baseline=baseline.name, stamp=stamp)
        assert self.store.environments.ready(made.id)
        return self.store.environments.by_name([made.name])[made.name]

    def change(self, statement: str, *values: Any) -> None:
        """Let time pass, or an accident happen, in the registry."""
        with psycopg.connect(self.registry, options="-c search_path=forkyard_registry") as connection:
            connection.execute(statement, values)

    def commit_merge(self, run_id: str) -> None:
        """What a worker's merge leaves in the target."""
        with psycopg.connect(self.target) as connection:
            marker.write(connection, run_id, installation=self.context.installation, changeset_hash="sha256:c")


@pytest.fixture
def world(fresh_database: Callable[..., str], tmp_path: Path) -> Iterator[World]:
    registry, target = fresh_database("registry"), fresh_database("target")
    upgrade(registry)
    with psycopg.connect(target) as connection:
        marker.install(connection)
    store, server, dispatcher = Store(registry), FakeServer(), RecordingDispatcher()
    provider = FakeProvider(server, installation=store.projects.installation(), key=KEY)
    without, password = split_password(target)
    context = Context(
        settings=Settings(
            state_dir=tmp_path,
            projects={"shop": ProjectSecrets(target_password=SecretStr(password) if password else None)},
        ),
        store=store,
        dispatcher=dispatcher,
        make_provider=lambda *_: provider,
        installation=store.projects.installation(),
        owner="here:1:1",
        host="here",
    )
    project = store.projects.save(
        name="shop",
        provider="fake",
        target_conninfo=without,
        host_conninfo="host=fake.invalid",
        max_parallel=4,
        ttl_seconds=3600,
        pool_size=0,
        agent_connections=2,
        restart_interrupted=True,
        redis_url=None,
    )
    made = World(
        context=context,
        registry=registry,
        target=target,
        project=project,
        provider=provider,
        dispatcher=dispatcher,
        experiment=tmp_path / "clean.yaml",
    )
    made.experiment.write_text(EXPERIMENT, encoding="utf-8")
    _seal(made)
    yield made
    store.close()


def _seal(world: World) -> None:
    prefix = resource_name(world.context.installation, "baseline", 1)[:-1]
    baseline = world.store.projects.intend_baseline(world.project.id, label=None, prefix=prefix)
    stamp = Stamp(installation=world.context.installation, project="shop", kind="baseline", resource_id=baseline.id)
    source = world.provider.server.add_target("notes", {})
    world.provider.create_baseline(baseline.name, source=source, stamp=stamp)
    world.store.projects.seal_baseline(baseline.id, fingerprint="sha256:b", target_fingerprint="sha256:t")
