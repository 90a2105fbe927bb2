"""What all sweeps have in common: one at a time, on record, and harmless when only asked what they would do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.errors import ProviderUnavailable
from orchestrator.isolation import workspace
from orchestrator.maintenance import SWEEPS, Finding, run_sweep
from orchestrator.runs import Ending, Step
from orchestrator.settings import workspace_root
from orchestrator.steps.context import Context
from orchestrator.testing.fake_server import FakeDatabase
from tests.integration.maintenance.conftest import Sweeper
from tests.registry import expire_lease
from tests.world import World


def messy(world: World) -> None:
    """Work for every sweep."""
    claim = world.at(Step.SETTLE)
    world.fork_of(claim)
    world.store.runs.finish(claim.run.id, Ending.discarded("x"), claim=claim)
    world.store.experiments.finish(claim.run.experiment_id, summary="1 discarded")
    world.store.artifacts.put("log", b"nobody needs it")
    world.pass_time(hours=24 * 40)
    stuck = world.at(Step.RUN_AGENT, owner="elsewhere:1:1").run.id
    expire_lease(world.registry, stuck)
    lost = world.fork_of(world.at(Step.RUN_AGENT))
    del world.server.databases[lost.name]
    del world.server.roles[lost.name]
    unknown = lost.name.rpartition("_")[0] + "_f999"
    world.server.databases[unknown] = FakeDatabase(rows={})
    world.set_project(pool_size=1)
    workspace.create(workspace_root(world.context.settings), "fy_00000000_f1", None)


def everything(world: World) -> object:
    """All that there is, in the registry, at the provider, on disk and in the queue."""
    tables = world.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'forkyard_registry' ORDER BY 1")
    named = [table for (table,) in tables if table != "sweeps"]
    rows = world.execute(
        " UNION ALL ".join(f"SELECT '{name}', t::text FROM {name} t" for name in named) + " ORDER BY 1, 2"
    )
    folders = sorted(path.name for path in workspace_root(world.context.settings).iterdir())
    return rows, sorted(world.server.databases), sorted(world.server.roles), folders, list(world.dispatcher.sent)


@pytest.mark.parametrize("name", SWEEPS)
def test_a_dry_run_changes_nothing_and_says_what_a_real_one_then_does(world: World, sweep: Sweeper, name: str) -> None:
    messy(world)
    before = everything(world)
    said = sweep(name, dry_run=True)
    assert everything(world) == before
    done = sweep(name)
    assert everything(world) != before
    if name != "prune":
        assert len(said) > 0
        assert len(done) >= len(said)
        assert all(action.startswith("would ") for action in said.values())


@pytest.mark.parametrize("name", ["expire", "orphans"])
def test_a_second_sweeper_does_nothing_while_the_first_is_at_it(world: World, sweep: Sweeper, name: str) -> None:
    messy(world)
    with world.store.sweeps.lock(name) as mine:
        assert mine
        before = everything(world)
        other = world.opened()
        try:
            assert run_sweep(other, name, SWEEPS[name]) is None
        finally:
            other.store.close()
        assert everything(world) == before
        assert world.store.sweeps.last() == []
    sweep(name)
    assert everything(world) != before


@pytest.mark.parametrize("name", SWEEPS)
def test_a_pass_after_a_pass_finds_nothing_left_to_do(world: World, sweep: Sweeper, name: str) -> None:
    messy(world)
    sweep(name)
    assert sweep(name) == {}


def test_every_pass_is_on_record_with_what_it_did(world: World, sweep: Sweeper) -> None:
    messy(world)
    found = sweep("orphans")
    [last] = world.store.sweeps.last()
    assert (last["name"], last["outcome"]) == ("orphans", "done")
    assert {finding["name"]: finding["action"] for finding in last["findings"]} == found


def test_a_pass_that_failed_is_on_record_without_secrets_and_with_what_it_had_done(world: World) -> None:
    def failing(context: Context, dry_run: bool) -> Iterator[Finding]:
        yield Finding(sweep="x", kind="run", name="first", action="sent on", reason="")
        raise ProviderUnavailable("Cannot log in at postgresql://a:hunter2@h/d.")

    with pytest.raises(ProviderUnavailable):
        run_sweep(world.context, "x", failing)
    [last] = world.store.sweeps.last()
    assert last["outcome"] == "failed: Cannot log in at postgresql://a:***@h/d."
    assert [finding["name"] for finding in last["findings"]] == ["first"]


def test_a_pass_that_broke_frees_its_lock(world: World) -> None:
    def broken(context: Context, dry_run: bool) -> Iterator[Finding]:
        raise ZeroDivisionError
        yield

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            run_sweep(world.context, "x", broken)
    assert [row["outcome"] for row in world.store.sweeps.last()] == ["failed"]


def test_sweeps_of_different_names_do_not_wait_for_each_other(world: World) -> None:
    with world.store.sweeps.lock("expire") as first:
        other = world.opened()
        with other.store.sweeps.lock("orphans") as second:
            assert (first, second) == (True, True)
        other.store.close()
