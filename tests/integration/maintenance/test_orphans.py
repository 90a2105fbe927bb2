"""Orphans: what the provider has and the registry does not, and the reverse. When in doubt nothing is deleted."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from orchestrator.errors import ProviderUnavailable
from orchestrator.forks.base import Found, Stamp
from orchestrator.forks.names import resource_name
from orchestrator.runs import Ending, EnvironmentState, Step
from orchestrator.testing.fake_provider import FakeProvider
from orchestrator.testing.fake_server import FakeDatabase
from tests.integration.maintenance.conftest import Sweeper
from tests.world import World

THEIRS = "99999999-9999-4999-8999-999999999999"


def orphan(world: World, number: int = 900, *, kind: str = "fork", stamp: str | None = "ours") -> str:
    """Something at the provider that the registry has never heard of."""
    ours = world.context.installation
    name = resource_name(ours, "fork" if kind == "fork" else "baseline", number)
    text = Stamp(installation=ours, project="shop", kind="fork", resource_id=number).to_json()
    if kind == "baseline":
        text = Stamp(installation=ours, project="shop", kind="baseline", resource_id=number).to_json()
    world.server.databases[name] = FakeDatabase(rows={}, stamp=text if stamp == "ours" else stamp)
    return name


@pytest.fixture
def careless(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A provider that lists and would delete whatever there is: only the sweep itself stands in between."""

    def listing(self: FakeProvider) -> Iterable[Found]:
        for name, database in self.server.databases.items():
            if name.startswith("fy_"):
                kind = "baseline" if "_b" in name else "fork"
                yield Found(name=name, kind=kind, stamp=Stamp.from_json(database.stamp))  # type: ignore[arg-type]

    monkeypatch.setattr(FakeProvider, "list", listing)
    for method in ("destroy", "destroy_baseline"):
        monkeypatch.setattr(FakeProvider, method, lambda self, name: self.server.databases.pop(name))
    return world


@pytest.mark.parametrize("kind", ["fork", "baseline"])
@pytest.mark.parametrize("stamp", ["ours", None])
def test_what_carries_our_name_and_no_foreign_stamp_is_deleted(
    world: World, sweep: Sweeper, kind: str, stamp: str | None
) -> None:
    name = orphan(world, kind=kind, stamp=stamp)
    assert sweep("orphans") == {name: "deleted"}
    assert name not in world.server.databases
    assert world.baseline.name in world.server.databases


def test_a_foreign_stamp_under_a_name_like_ours_is_left(careless: World, sweep: Sweeper) -> None:
    theirs = Stamp(installation=THEIRS, project="shop", kind="fork", resource_id=900).to_json()
    name = orphan(careless, stamp=theirs)
    assert sweep("orphans") == {name: "left: not ours"}
    assert name in careless.server.databases


def test_a_name_of_another_installation_is_left(careless: World, sweep: Sweeper) -> None:
    name = resource_name(THEIRS, "fork", 1)
    careless.server.databases[name] = FakeDatabase(rows={}, stamp=None)
    assert sweep("orphans") == {name: "left: not ours"}
    assert name in careless.server.databases


def test_a_fork_of_another_installation_on_the_same_host_is_not_even_looked_at(world: World, sweep: Sweeper) -> None:
    neighbour = FakeProvider(world.server, installation=THEIRS, key=b"theirs")
    name = resource_name(THEIRS, "fork", 1)
    stamp = Stamp(installation=THEIRS, project="shop", kind="baseline", resource_id=1)
    baseline = resource_name(THEIRS, "baseline", 1)
    neighbour.create_baseline(baseline, source=world.server.add_target("t", {}), stamp=stamp)
    fork = Stamp(installation=THEIRS, project="shop", kind="fork", resource_id=1)
    neighbour.create(name, baseline=baseline, stamp=fork)
    assert sweep("orphans") == {}
    assert {name, baseline} <= set(world.server.databases)


def test_a_provider_that_refuses_at_the_last_moment_is_believed(world: World, sweep: Sweeper) -> None:
    name, other = orphan(world, 900), orphan(world, 901)

    def restamp(asked: str) -> None:
        if asked == name:
            world.server.databases[name].stamp = '{"forkyard": 1, "installation": "another"}'

    world.provider.before("destroy", restamp)
    assert sweep("orphans") == {name: "left: not ours", other: "deleted"}
    assert name in world.server.databases


def test_one_that_cannot_be_deleted_does_not_keep_the_others(world: World, sweep: Sweeper) -> None:
    first, second = orphan(world, 900), orphan(world, 901)
    world.provider.fail_next("destroy", ProviderUnavailable("Gone to postgresql://a:hunter2@h/d."))
    assert sweep("orphans") == {first: "left: Gone to postgresql://a:***@h/d.", second: "deleted"}


@pytest.mark.parametrize("state", ["creating", "ready", "releasing"])
def test_what_the_registry_knows_is_left_to_the_registry(world: World, sweep: Sweeper, state: str) -> None:
    environment = world.fork_of(world.at(Step.RUN_AGENT))
    world.execute("UPDATE environments SET state = %s::text::environment_state", state)
    assert sweep("orphans") == {}
    assert world.forks() == {environment.name}


def test_what_the_registry_says_is_gone_is_deleted(world: World, sweep: Sweeper) -> None:
    environment = world.fork_of(world.at(Step.RUN_AGENT))
    world.execute("UPDATE environments SET state = 'released', released_at = now()")
    assert sweep("orphans") == {environment.name: "deleted"}
    assert world.forks() == set()


def test_a_registry_that_knows_nothing_deletes_nothing(world: World, sweep: Sweeper) -> None:
    names = [orphan(world, number) for number in (900, 901)]
    world.execute("DELETE FROM baselines")
    assert list(sweep("orphans").values()) == ["left"]
    assert set(names) <= set(world.server.databases)
    assert world.baseline.name in world.server.databases


def test_a_listing_that_fails_deletes_nothing_and_loses_nothing(world: World, sweep: Sweeper) -> None:
    environment = world.fork_of(world.at(Step.RUN_AGENT))
    name = orphan(world)
    world.provider.fail_next("list", ProviderUnavailable("Half of it came."))
    assert set(sweep("orphans").values()) <= {"left"}
    assert {name, environment.name} <= set(world.server.databases)
    assert world.environment(environment).state is EnvironmentState.READY


def test_a_fork_that_is_no_longer_there_is_lost_and_then_released(world: World, sweep: Sweeper) -> None:
    claim = world.at(Step.SETTLE)
    environment = world.fork_of(claim)
    del world.server.databases[environment.name]
    del world.server.roles[environment.name]
    assert sweep("orphans") == {environment.name: "marked lost"}
    assert world.environment(environment).state is EnvironmentState.LOST
    assert sweep("orphans") == {}
    world.store.runs.finish(claim.run.id, Ending.failed("its fork is lost"), claim=claim)
    world.pass_time(seconds=11)
    assert sweep("expire") == {environment.name: "released"}
    assert world.store.environments.receipt([claim.run.id])[0]["gone_at"] is not None


def test_a_fork_that_is_made_while_the_sweep_looks_is_neither_orphan_nor_lost(world: World, sweep: Sweeper) -> None:
    claim, made = world.at(Step.RUN_AGENT), []

    def make(_: str) -> None:
        world.provider.before("list", None)
        made.append(world.fork_of(claim))

    world.provider.before("list", make)
    assert sweep("orphans") == {}
    assert world.environment(made[0]).state is EnvironmentState.READY


def test_a_pass_deletes_so_many_and_no_more(world: World, sweep: Sweeper) -> None:
    names = sorted(orphan(world, number) for number in (900, 901, 902))
    world.set_limits(max_deletions=2)
    assert list(sweep("orphans")) == names[:2]


def test_projects_that_share_a_host_are_listed_together(world: World, sweep: Sweeper) -> None:
    world.set_project("second")
    fork = world.fork_of(world.at(Step.RUN_AGENT))
    world.provider.calls.clear()
    assert sweep("orphans") == {}
    assert [operation for operation, _ in world.provider.calls if operation == "list"] == ["list"]
    assert world.forks() == {fork.name}
