"""Prune: history ends after so many days; what something refers to stays."""

from __future__ import annotations

import pytest

from orchestrator.errors import NotFound
from orchestrator.runs import Ending, Step
from tests.integration.maintenance.conftest import Sweeper
from tests.world import World

MONTH = 24 * 31.0


def test_the_young_stays(world: World, sweep: Sweeper) -> None:
    world.store.runs.finish(world.run(), Ending.failed("x"))
    digest = world.store.artifacts.put("log", b"hello")
    world.pass_time(hours=24 * 29)
    assert sweep("prune") == {}
    assert world.store.artifacts.get(digest) == b"hello"


def test_events_of_runs_that_ended_long_ago_go_and_those_of_others_stay(world: World, sweep: Sweeper) -> None:
    old, live = world.run(), world.run()
    for run_id in (old, live):
        world.store.runs.add_event(run_id, "note", "something")
    world.store.runs.finish(old, Ending.failed("x"))
    world.pass_time(hours=MONTH)
    young = world.run()
    world.store.runs.add_event(young, "note", "something")
    world.store.runs.finish(young, Ending.failed("x"))
    sweep("prune")
    assert world.store.runs.events(old) == []
    assert len(world.store.runs.events(live)) == 1
    assert len(world.store.runs.events(young)) == 2
    assert world.store.runs.get(old).reason == "x"


def test_artifacts_go_when_nothing_refers_to_them(world: World, sweep: Sweeper) -> None:
    digests = {kind: world.store.artifacts.put(kind, kind.encode()) for kind in ("changeset", "log", "files", "lone")}
    claim = world.at(Step.RUN_AGENT)
    world.store.runs.store_results(claim, changeset_hash=digests["changeset"], log_hash=digests["log"])
    world.execute("UPDATE experiments SET files = jsonb_build_object('careful', %s::text)", digests["files"])
    world.pass_time(hours=MONTH)
    sweep("prune")
    for kind in ("changeset", "log", "files"):
        assert world.store.artifacts.get(digests[kind]) == kind.encode()
    with pytest.raises(NotFound):
        world.store.artifacts.get(digests["lone"])


def test_records_of_sweeps_go_but_for_the_last_of_each(world: World, sweep: Sweeper) -> None:
    sweep("pool")
    sweep("rescue")
    world.pass_time(hours=MONTH)
    sweep("rescue")
    sweep("prune")
    kept = world.execute("SELECT name FROM sweeps ORDER BY id")
    assert ("rescue",) in kept
    assert len(kept) == len(set(kept))
