"""Expire: what is past its time, forgotten or half released goes; what a live run uses stays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from orchestrator.errors import ProviderUnavailable
from orchestrator.maintenance.expire import destroy_baseline, run_once
from orchestrator.runs import Ending, EnvironmentState, RunState, Step
from orchestrator.store import Claim, Environment
from orchestrator.store.connection import SCHEMA
from tests.integration.maintenance.conftest import Sweeper
from tests.registry import held_claim
from tests.world import World, until

LIVE = [Step.PROVISION, Step.RUN_AGENT, Step.APPLY_MIGRATIONS, Step.CAPTURE, Step.SETTLE]


def forked(world: World, step: Step = Step.RUN_AGENT) -> tuple[Claim, Environment]:
    """A run that works, and its fork."""
    claim = world.at(step)
    return claim, world.fork_of(claim)


def ended(world: World, ending: Ending | None = None, *, keep: bool = False) -> Environment:
    """A finished run's fork, which its end did not release."""
    claim, environment = forked(world, Step.SETTLE)
    world.store.runs.finish(claim.run.id, ending or Ending.discarded("not needed"), claim=claim)
    if keep:
        world.store.environments.keep(environment.id, reason="to look at")
    return environment


def state(world: World, environment: Environment) -> EnvironmentState:
    return world.environment(environment).state


def assert_released(world: World, environment: Environment) -> None:
    assert state(world, environment) is EnvironmentState.RELEASED
    assert environment.name not in world.forks()
    gone = world.execute("SELECT count(*) FROM resources WHERE environment_id = %s AND gone_at IS NULL", environment.id)
    assert gone == [(0,)]


def test_nothing_is_due_in_a_yard_where_all_is_young(world: World, sweep: Sweeper) -> None:
    forked(world)
    world.pooled()
    assert sweep("expire") == {}


@pytest.mark.parametrize("step", LIVE)
def test_the_fork_of_a_live_run_stays_however_old_it_is(world: World, sweep: Sweeper, step: Step) -> None:
    claim, environment = forked(world, step)
    world.pass_time(hours=1000)
    world.store.runs.heartbeat(claim, lease_seconds=60)
    assert sweep("expire") == {}
    assert state(world, environment) is EnvironmentState.READY


def test_the_scratch_fork_of_a_live_capture_stays(world: World, sweep: Sweeper) -> None:
    claim, environment = forked(world, Step.CAPTURE)
    world.execute("UPDATE environments SET purpose = 'scratch'")
    world.pass_time(hours=1000)
    world.store.runs.heartbeat(claim, lease_seconds=60)
    assert sweep("expire") == {}
    assert state(world, environment) is EnvironmentState.READY


def test_a_run_that_waits_for_its_next_step_keeps_its_fork_until_it_expires(world: World, sweep: Sweeper) -> None:
    claim, environment = forked(world, Step.RUN_AGENT)
    world.store.runs.commit_step(claim, Step.RUN_AGENT, dispatch_seconds=30)
    world.pass_time(hours=0.9)
    assert sweep("expire") == {}
    world.pass_time(hours=0.2)
    assert sweep("expire") == {environment.name: "released"}
    assert_released(world, environment)


def test_what_a_finished_run_left_goes_before_it_expires(world: World, sweep: Sweeper) -> None:
    environment = ended(world)
    assert sweep("expire") == {}
    world.pass_time(seconds=11)
    assert sweep("expire") == {environment.name: "released"}
    assert_released(world, environment)


def test_what_is_kept_to_be_looked_at_goes_when_it_expires_and_not_before(world: World, sweep: Sweeper) -> None:
    environment = ended(world, Ending.failed("broken"), keep=True)
    world.pass_time(hours=0.9)
    assert sweep("expire") == {}
    world.pass_time(hours=0.2)
    assert sweep("expire") == {environment.name: "released"}
    assert_released(world, environment)


def test_an_age_given_by_hand_leaves_what_a_person_keeps(world: World) -> None:
    kept, forgotten = ended(world, keep=True), ended(world)
    world.pass_time(hours=0.5)
    found = list(run_once(world.context, True, older_than_seconds=60))
    assert [finding.name for finding in found] == [forgotten.name]
    assert state(world, kept) is EnvironmentState.READY


def test_a_release_that_was_cut_short_is_finished(world: World, sweep: Sweeper) -> None:
    environment = ended(world)
    world.provider.fail_next("destroy", ProviderUnavailable("Nobody at home."))
    world.pass_time(seconds=11)
    assert sweep("expire") == {environment.name: "left (see the log)"}
    assert state(world, environment) is EnvironmentState.RELEASING
    assert sweep("expire") == {environment.name: "released"}
    assert_released(world, environment)


def test_a_release_whose_answer_was_lost_is_finished(world: World, sweep: Sweeper) -> None:
    environment = ended(world)
    world.provider.fail_next("destroy", ProviderUnavailable("Lost on the way."), after=True)
    world.pass_time(seconds=11)
    sweep("expire")
    world.pass_time(seconds=11)
    assert sweep("expire") == {environment.name: "released"}
    assert_released(world, environment)


def test_a_fork_of_which_something_is_left_is_not_called_released(
    world: World, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = ended(world)
    monkeypatch.setattr(type(world.provider), "destroy", lambda self, name: self.server.databases.pop(name))
    world.pass_time(seconds=11)
    assert sweep("expire") == {environment.name: "left (see the log)"}
    lines = world.execute("SELECT kind, gone_at IS NULL FROM resources ORDER BY kind")
    assert lines == [("database", False), ("role", True)]
    assert state(world, environment) is EnvironmentState.RELEASING


def test_the_scratch_fork_of_a_capture_that_died_goes(world: World, sweep: Sweeper) -> None:
    claim, environment = forked(world, Step.CAPTURE)
    scratch = world.scratch(claim)
    world.pass_time(seconds=61)
    world.store.runs.heartbeat(claim, lease_seconds=60)
    assert sweep("expire") == {}
    world.pass_time(seconds=61)
    assert sweep("expire") == {scratch.name: "released"}
    assert world.forks() == {environment.name}


def test_a_pooled_fork_that_was_never_finished_goes(world: World, sweep: Sweeper) -> None:
    world.provider.fail_next("create", ProviderUnavailable())
    with pytest.raises(ProviderUnavailable):
        world.pooled()
    world.pass_time(seconds=300)
    assert sweep("expire") == {}
    world.pass_time(seconds=301)
    assert list(sweep("expire").values()) == ["released"]


def test_a_pooled_fork_that_nobody_took_goes_when_it_expires(world: World, sweep: Sweeper) -> None:
    pooled = world.pooled()
    world.pass_time(hours=1.1)
    assert sweep("expire") == {pooled.name: "released"}


def test_one_fork_that_is_not_ours_does_not_keep_the_others(world: World, sweep: Sweeper) -> None:
    foreign, ours = ended(world), ended(world)
    world.server.databases[foreign.name].stamp = '{"forkyard": 1, "installation": "somebody else"}'
    world.pass_time(seconds=11)
    actions = sweep("expire")
    assert actions[ours.name] == "released"
    assert "left alone" in actions[foreign.name]
    assert world.forks() == {foreign.name}


def test_a_pass_deletes_so_many_and_no_more(world: World, sweep: Sweeper) -> None:
    forks = [ended(world) for _ in range(3)]
    world.pass_time(seconds=11)
    world.set_limits(max_deletions=2)
    assert list(sweep("expire")) == [fork.name for fork in forks[:2]]
    assert list(sweep("expire")) == [forks[2].name]


def test_a_run_that_starts_to_work_while_the_sweep_is_busy_keeps_its_fork(world: World, sweep: Sweeper) -> None:
    first = ended(world)
    claim, second = forked(world, Step.RUN_AGENT)
    world.store.runs.commit_step(claim, Step.RUN_AGENT, dispatch_seconds=30)
    world.pass_time(hours=2)

    def another_worker_claims(name: str) -> None:
        if name == first.name:
            held_claim(world.store, claim.run.id, Step.APPLY_MIGRATIONS)

    world.provider.before("destroy", another_worker_claims)
    actions = sweep("expire")
    assert actions[first.name] == "released"
    assert actions[second.name] != "released"
    assert state(world, second) is EnvironmentState.READY
    assert world.forks() == {second.name}


def test_a_held_run_that_nobody_decided_about_ends_with_its_fork(world: World, sweep: Sweeper) -> None:
    claim, environment = forked(world, Step.SETTLE)
    world.store.runs.finish(claim.run.id, Ending.held("waits for a person"), claim=claim)
    world.store.environments.keep(environment.id, reason="the run is held")
    world.pass_time(hours=0.9)
    assert sweep("expire") == {}
    world.pass_time(hours=0.2)
    assert sweep("expire")[environment.name] == "released"
    sweep("expire")
    run = world.store.runs.get(claim.run.id)
    assert (run.state, run.reason) == (RunState.DISCARDED, "nobody decided before it expired")


@pytest.mark.parametrize("unfinished", ["creating", "failed", "releasing"])
def test_a_baseline_that_was_never_finished_goes(world: World, sweep: Sweeper, unfinished: str) -> None:
    broken = world.new_baseline()
    world.execute("UPDATE baselines SET state = %s::text::baseline_state WHERE id = %s", unfinished, broken.id)
    if unfinished == "creating":
        assert sweep("expire") == {}
        world.pass_time(hours=25)
    assert sweep("expire") == {broken.name: "released"}
    assert broken.name not in world.server.databases
    assert world.store.projects.baseline(broken.id).state == "released"
    assert world.baseline.name in world.server.databases


def test_a_baseline_stays_while_anything_needs_it(world: World) -> None:
    experiment, [run_id] = world.batch()
    assert not destroy_baseline(world.context, world.baseline.id, reason="try")
    claim = world.at(Step.SETTLE, run_id)
    environment = world.fork_of(claim)
    world.store.runs.finish(run_id, Ending.candidate(), claim=claim)
    world.store.experiments.finish(experiment.id, summary="done")
    assert not destroy_baseline(world.context, world.baseline.id, reason="try")
    world.execute("UPDATE environments SET state = 'released', released_at = now() WHERE id = %s", environment.id)
    assert not destroy_baseline(world.context, world.baseline.id, reason="a candidate waits")
    world.store.runs.finish(run_id, Ending.discarded("not the best"))
    assert destroy_baseline(world.context, world.baseline.id, reason="now")
    assert world.baseline.name not in world.server.databases


def test_a_claim_that_is_just_being_written_is_waited_for(world: World) -> None:
    claim, environment = forked(world, Step.RUN_AGENT)
    world.store.runs.commit_step(claim, Step.RUN_AGENT, dispatch_seconds=30)
    with psycopg.connect(world.registry, options=f"-c search_path={SCHEMA}") as other, ThreadPoolExecutor(1) as pool:
        other.execute("UPDATE runs SET owner = 'w:1:1', lease_until = now() + interval '1 min'")
        taking = pool.submit(world.store.environments.take_for_release, environment.id, reason="expired", idle=True)
        assert until(lambda: bool(world.execute("SELECT 1 FROM pg_locks WHERE NOT granted")))
        assert not taking.done()
        other.commit()
        assert taking.result(5) is None
    assert state(world, environment) is EnvironmentState.READY
