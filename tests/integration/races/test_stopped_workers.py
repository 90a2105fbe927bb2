"""A worker that stood still while another one took its run over: when it moves again it must harm nothing."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import Fenced, ProviderUnavailable, RegistryUnavailable
from orchestrator.runs import Step
from orchestrator.steps import apply_migrations, driver, environment, run_agent
from orchestrator.store import AttemptRow
from orchestrator.store.runs import Runs


def take_over(world: Any, run_id: str, step: Step) -> Any:
    world.change("UPDATE runs SET lease_until = now() - interval '1 s' WHERE id = %s", run_id)
    return world.claim(run_id, step, owner="another:1:1")


def test_it_does_not_make_the_fork_anew_that_the_agent_works_in(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id, _ = world.batch()
    stopped = world.walk_to(run_id, Step.PROVISION)
    made: list[str] = []
    monkeypatch.setattr(environment, "_make", lambda *parts: made.append(parts[-1].name))
    intended = environment._intend(
        world.context,
        world.project,
        world.store.projects.find_baseline(world.project, "latest"),
        purpose="run",
        run_id=run_id,
    )
    plan = world.context.plan(stopped.run)
    take_over(world, run_id, Step.PROVISION)
    with pytest.raises(Fenced):
        environment.provide(world.context, plan)
    assert intended.name not in made


def test_it_does_not_forget_the_migrations_of_the_next_agent(world: Any) -> None:
    run_id, _ = world.batch()
    world.walk_to(run_id, Step.RUN_AGENT)
    stopped = take_over(world, run_id, Step.RUN_AGENT)
    world.store.runs.count_agent_start(stopped)
    stopped = take_over(world, run_id, Step.RUN_AGENT)
    plan = world.context.plan(stopped.run)
    take_over(world, run_id, Step.RUN_AGENT)
    none: tuple[AttemptRow, ...] = ()
    text = {"name": "1.sql", "original": "SELECT 1", "final": None}
    world.store.ledger.record(run_id, 1, **text, applied=False, statements=0, duration_seconds=0, attempts=none)
    with pytest.raises(Fenced):
        run_agent._fresh_environment(world.context, plan)
    assert len(world.store.ledger.of_run(run_id)) == 1


def test_its_session_does_not_block_the_migrations_of_the_next_try(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id, _ = world.batch()
    fork = world.fork(run_id)
    world.walk_to(run_id, Step.APPLY_MIGRATIONS)
    text = {"name": "1.sql", "original": "SELECT 1", "final": None}
    world.store.ledger.record(run_id, 1, **text, applied=False, statements=0, duration_seconds=0, attempts=())

    def connect(_: str) -> Any:
        raise ProviderUnavailable("this fork is in memory")

    monkeypatch.setattr(apply_migrations, "connect", connect)
    world.provider.open(fork.name, stamp=environment.stamp_of(world.context, world.project, fork))
    world.provider.calls.clear()
    with pytest.raises(ProviderUnavailable):
        apply_migrations.apply_migrations(world.context, take_over(world, run_id, Step.APPLY_MIGRATIONS), None)  # type: ignore[arg-type]
    assert world.provider.calls == [("close", fork.name), ("open", fork.name)]


def test_a_step_is_not_done_twice_because_its_commit_found_no_registry(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, _ = world.batch()
    world.walk_to(run_id, Step.PROVISION)
    world.change("UPDATE runs SET lease_until = now() - interval '1 s' WHERE id = %s", run_id)
    commit = Runs.commit_step
    failed: list[bool] = []
    acted: list[None] = []

    def commit_step(self: Runs, *parts: Any, **values: Any) -> None:
        if not failed:
            failed.append(True)
            raise RegistryUnavailable("it restarts")
        commit(self, *parts, **values)

    monkeypatch.setattr(Runs, "commit_step", commit_step)
    monkeypatch.setattr(driver, "COMMIT_PAUSE_SECONDS", 0)
    stage = driver.Stage(Step.PROVISION, lambda *_: acted.append(None))
    assert driver.perform(world.context, stage, run_id) is driver.Outcome.DONE
    assert (len(acted), world.store.runs.get(run_id).steps_done) == (1, Step.PROVISION.number)
