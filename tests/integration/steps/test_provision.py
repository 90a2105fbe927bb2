"""Provision on a provider that fails in all the ways that providers do: one fork in the end, or none."""

from __future__ import annotations

import pytest

from orchestrator.errors import BaselineBusy, CapacityExceeded, ProviderUnavailable
from orchestrator.runs import EnvironmentState, RunState, Step
from orchestrator.steps.driver import Outcome, perform
from orchestrator.steps.pipeline import STAGES
from tests.registry import acquire, expire_lease
from tests.world import World

PROVISION = STAGES[Step.PROVISION]


def queued(world: World, **spec: object) -> str:
    run_id = world.run(**spec)
    assert acquire(world.store, run_id)
    return run_id


def test_a_run_gets_a_fork_of_its_baseline_with_intent_first(world: World) -> None:
    run_id = queued(world)
    seen = []

    def look(name: str) -> None:
        [environment] = world.store.environments.of_run(run_id)
        resources = world.execute("SELECT kind, name FROM resources ORDER BY kind")
        seen.append((environment.name == name, environment.state, resources))

    world.provider.before("create", look)
    assert perform(world.context, PROVISION, run_id) is Outcome.DONE
    [environment] = world.store.environments.of_run(run_id)
    name = environment.name
    assert seen == [(True, EnvironmentState.CREATING, [("database", name), ("role", name)])]
    assert environment.state is EnvironmentState.READY
    assert world.forks() == {name}
    assert [call for call in world.provider.calls if call[0] != "create_baseline"] == [("create", name), ("open", name)]
    assert world.store.runs.get(run_id).baseline_fingerprint == world.fingerprint


def test_a_fork_s_stamp_tells_whose_it_is_and_when_it_ends(world: World) -> None:
    claim = world.at(Step.PROVISION)
    environment = world.fork_of(claim)
    [found] = [found for found in world.provider.list() if found.kind == "fork"]
    assert found.stamp is not None
    assert (found.stamp.installation, found.stamp.run) == (world.context.installation, claim.run.id)
    assert found.stamp.expires_at == environment.expires_at


@pytest.mark.parametrize("operation", ["create", "open"])
@pytest.mark.parametrize("answer_lost", [False, True])
def test_a_failure_on_the_way_leaves_one_fork_after_the_next_try(
    world: World, operation: str, answer_lost: bool
) -> None:
    run_id = queued(world)
    world.provider.fail_next(operation, ProviderUnavailable(), after=answer_lost)
    with pytest.raises(ProviderUnavailable):
        perform(world.context, PROVISION, run_id)
    assert perform(world.context, PROVISION, run_id) is Outcome.DONE
    [environment] = world.store.environments.of_run(run_id)
    assert environment.state is EnvironmentState.READY
    assert world.forks() == {environment.name}


def test_a_worker_that_died_after_the_create_is_followed_by_one_that_uses_the_same_fork(world: World) -> None:
    class Killed(BaseException):
        pass

    def die(name: str) -> None:
        world.provider.before("open", None)
        raise Killed

    run_id = queued(world)
    world.provider.before("open", die)
    with pytest.raises(Killed):
        perform(world.worker("w:1:1"), PROVISION, run_id)
    expire_lease(world.registry, run_id)
    assert perform(world.context, PROVISION, run_id) is Outcome.DONE
    [environment] = world.store.environments.of_run(run_id)
    assert world.forks() == {environment.name}


@pytest.mark.parametrize("error", [CapacityExceeded("The disk is full."), BaselineBusy("Somebody is connected.")])
def test_a_host_without_room_ends_the_run_when_the_tries_are_used_up_and_nothing_is_left(
    world: World, error: CapacityExceeded | BaselineBusy
) -> None:
    _, [run_id] = world.batch(send=True)
    for _ in range(world.context.settings.worker.max_step_tries):
        world.provider.fail_next("create", error)
    world.dispatcher.deliver(world.context)
    run = world.store.runs.get(run_id)
    assert (run.state, run.reason) == (RunState.FAILED, error.message)
    assert world.dispatcher.callbacks == []
    assert [environment.state for environment in world.store.environments.of_run(run_id)] == [EnvironmentState.RELEASED]


def test_a_fork_that_is_not_its_baseline_is_never_given_to_an_agent(world: World) -> None:
    world.execute("UPDATE baselines SET fingerprint = 'sha256:other'")
    run_id = queued(world)
    assert perform(world.context, PROVISION, run_id) is Outcome.DONE
    run = world.store.runs.get(run_id)
    assert run.ending is RunState.FAILED
    assert "does not match baseline 1" in str(run.reason)
    assert "open" not in [operation for operation, _ in world.provider.calls]


def test_a_ready_fork_comes_from_the_pool_and_is_opened_for_the_run(world: World) -> None:
    pooled = world.pooled()
    run_id = queued(world)
    made = len(world.provider.calls)
    assert perform(world.context, PROVISION, run_id) is Outcome.DONE
    assert world.provider.calls[made:] == [("open", pooled.name)]
    [environment] = world.store.environments.of_run(run_id)
    assert (environment.name, environment.purpose) == (pooled.name, "run")
    assert environment.expires_at > pooled.expires_at


def test_a_pooled_fork_of_another_baseline_is_not_used(world: World) -> None:
    older = world.pooled()
    world.baseline = world.new_baseline()
    run_id = queued(world)
    perform(world.context, PROVISION, run_id)
    [environment] = world.store.environments.of_run(run_id)
    assert environment.name != older.name
    assert environment.baseline_id == world.baseline.id


def test_a_pooled_fork_that_has_expired_is_not_used(world: World) -> None:
    expired = world.pooled()
    world.execute("UPDATE environments SET expires_at = now() - interval '1 s'")
    run_id = queued(world)
    perform(world.context, PROVISION, run_id)
    [environment] = world.store.environments.of_run(run_id)
    assert environment.name != expired.name


def test_a_pooled_fork_that_vanished_at_its_host_is_replaced(world: World) -> None:
    vanished = world.pooled()
    world.provider.destroy(vanished.name)
    run_id = queued(world)
    assert perform(world.context, PROVISION, run_id) is Outcome.DONE
    environments = world.store.environments.of_run(run_id)
    assert [(one.name == vanished.name, one.state.value) for one in environments] == [(True, "lost"), (False, "ready")]
