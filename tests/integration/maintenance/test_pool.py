"""The warm pool: full, fresh, and no fork for two."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from orchestrator.errors import CapacityExceeded
from orchestrator.runs import EnvironmentState, Step
from orchestrator.store import Environment
from tests.integration.maintenance.conftest import Sweeper
from tests.world import World, until


def pool(world: World) -> list[str]:
    return [row["name"] for row in world.store.environments.open() if row["purpose"] == "pool"]


def test_no_pool_is_filled_where_none_is_wanted(world: World, sweep: Sweeper) -> None:
    assert sweep("pool") == {}
    assert world.forks() == set()


def test_the_pool_is_filled_with_closed_forks_of_the_newest_baseline_and_kept_full(
    world: World, sweep: Sweeper
) -> None:
    world.set_project(pool_size=3)
    assert set(sweep("pool").values()) == {"made"}
    assert sweep("pool") == {}
    names = pool(world)
    assert len(names) == 3
    assert world.forks() == set(names)
    assert "open" not in [operation for operation, _ in world.provider.calls]
    taken = world.fork_of(world.at(Step.PROVISION))
    assert taken.name in names
    assert len(sweep("pool")) == 1
    assert len(pool(world)) == 3


def test_without_a_baseline_there_is_no_pool(world: World, sweep: Sweeper) -> None:
    world.execute("DELETE FROM baselines")
    world.set_project(pool_size=2)
    assert sweep("pool") == {}


def test_forks_of_an_older_baseline_are_replaced(world: World, sweep: Sweeper) -> None:
    world.set_project(pool_size=2)
    sweep("pool")
    stale = pool(world)
    world.baseline = world.new_baseline()
    actions = sweep("pool")
    assert Counter(actions.values()) == {"released": 2, "made": 2}
    assert {name for name, action in actions.items() if action == "released"} == set(stale)
    assert world.forks() == set(pool(world))
    assert not world.forks() & set(stale)


def test_a_pool_that_is_no_longer_wanted_is_released(world: World, sweep: Sweeper) -> None:
    world.set_project(pool_size=2)
    sweep("pool")
    world.set_project(pool_size=0)
    assert list(sweep("pool").values()) == ["released"] * 2
    assert world.forks() == set()


def test_a_stale_fork_that_a_run_takes_at_this_moment_is_the_run_s(world: World, sweep: Sweeper) -> None:
    first, second = world.pooled(), world.pooled()
    claim = world.at(Step.PROVISION)
    world.set_project(pool_size=0)
    taken: list[Environment | None] = []

    def a_run_takes_it(name: str) -> None:
        if name == first.name:
            taken.append(
                world.store.environments.take_from_pool(
                    run_id=claim.run.id, baseline_id=world.baseline.id, ttl_seconds=3600
                )
            )

    world.provider.before("destroy", a_run_takes_it)
    assert sweep("pool") == {first.name: "released", second.name: "left (taken, or see the log)"}
    assert [environment.name for environment in taken if environment] == [second.name]
    assert world.environment(second).state is EnvironmentState.READY
    assert world.forks() == {second.name}


def test_a_host_without_room_keeps_no_pass_from_its_end(world: World, sweep: Sweeper) -> None:
    world.set_project(pool_size=2)
    world.provider.fail_next("create", CapacityExceeded("The disk is full."))
    assert sweep("pool") == {"shop": "failed"}
    assert list(sweep("pool").values()) == ["made"]


def test_a_fork_that_is_just_being_handed_out_is_passed_over(world: World) -> None:
    first, second = world.pooled(), world.pooled()
    _, ids = world.batch(runs=2)
    asked = {"baseline_id": world.baseline.id, "ttl_seconds": 60}
    environments = world.store.environments
    with ThreadPoolExecutor(1) as pool:
        with world.store.database.transaction() as connection:
            taken = environments._row(connection, "take_from_pool", {"run_id": ids[0], **asked})
            other = pool.submit(environments.take_from_pool, run_id=ids[1], **asked)
            until(other.done, 2)
        found = other.result(10)
    assert taken is not None
    assert found is not None
    assert [taken["name"], found.name] == [first.name, second.name]


def test_a_fork_is_handed_out_once_however_many_ask(world: World) -> None:
    forks = {world.pooled().name for _ in range(6)}
    _, ids = world.batch(runs=8)
    start, taken = threading.Barrier(8), []

    def take(run_id: str) -> None:
        start.wait(5)
        taken.append(
            world.store.environments.take_from_pool(run_id=run_id, baseline_id=world.baseline.id, ttl_seconds=60)
        )

    world.store.database._max_size = 8
    threads = [threading.Thread(target=take, args=(run_id,)) for run_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [environment.name for environment in taken if environment is not None]
    assert len(taken) == 8
    assert sorted(names) == sorted(forks)
    assert len({environment.run_id for environment in taken if environment is not None}) == 6
