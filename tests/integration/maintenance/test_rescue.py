"""Rescue: what stopped goes on where it stopped, later and later; and one day it ends."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.errors import Fenced
from orchestrator.maintenance import rescue
from orchestrator.runs import Ending, EnvironmentState, RunState, Step
from orchestrator.steps.identity import host_name, owner_name
from orchestrator.store import Run
from tests.integration.maintenance.conftest import Sweeper
from tests.registry import acquire, claim, expire_lease, held_claim, walk_to
from tests.world import World

DEAD = f"{host_name()}:999999999:1"
"""A process of this host that does not live: Linux gives no such number."""


def overdue(world: World, step: Step = Step.RUN_AGENT) -> str:
    """A run whose worker fell silent during a step."""
    run_id = world.at(step, owner="elsewhere:1:1").run.id
    expire_lease(world.registry, run_id)
    return run_id


def waits(world: World, run_id: str) -> float:
    """Seconds until rescue looks at the run again."""
    return (world.store.runs.get(run_id).lease_until - datetime.now(UTC)).total_seconds()


def test_nothing_is_done_about_runs_that_are_well(world: World, sweep: Sweeper) -> None:
    world.at(Step.RUN_AGENT, owner="elsewhere:1:1")
    world.run()
    assert sweep("rescue") == {}
    assert world.dispatcher.sent == []


def test_a_run_whose_worker_fell_silent_is_sent_on_from_where_it_stopped(world: World, sweep: Sweeper) -> None:
    claimed = world.at(Step.CAPTURE, owner="elsewhere:1:1")
    run_id = claimed.run.id
    expire_lease(world.registry, run_id)
    assert sweep("rescue") == {run_id: "sent on"}
    [sent] = world.dispatcher.sent
    assert (sent.run_ids, sent.continuation, sent.steps_done) == ((run_id,), "{}", 4)
    with pytest.raises(Fenced):
        world.store.runs.commit_step(claimed, Step.CAPTURE, dispatch_seconds=30)
    assert held_claim(world.store, run_id, Step.CAPTURE, "next:1:1").run.step_tries == 2


def test_a_run_whose_message_was_lost_is_sent_again(world: World, sweep: Sweeper) -> None:
    queued = world.run()
    between = world.at(Step.PROVISION)
    world.store.runs.commit_step(between, Step.PROVISION, dispatch_seconds=30)
    assert sweep("rescue") == {}
    world.pass_time(seconds=31)
    assert sweep("rescue") == {queued: "sent on", between.run.id: "sent on"}
    assert [(sent.run_ids[0], sent.steps_done) for sent in world.dispatcher.sent] == [
        (queued, 0),
        (between.run.id, 2),
    ]


def test_a_run_is_rescued_once_however_many_sweeps_there_are(world: World, sweep: Sweeper) -> None:
    run_id = overdue(world)
    assert [sweep("rescue"), sweep("rescue")] == [{run_id: "sent on"}, {}]
    assert world.dispatcher.resumed() == [run_id]


def test_what_does_not_arrive_is_sent_later_and_later_but_never_given_up(world: World, sweep: Sweeper) -> None:
    run_id = world.run()
    pauses = []
    for _ in range(8):
        expire_lease(world.registry, run_id)
        assert sweep("rescue") == {run_id: "sent on"}
        pauses.append(round(waits(world, run_id), -1))
    assert pauses == [30, 60, 120, 240, 480, 600, 600, 600]
    assert world.store.runs.get(run_id).state is RunState.QUEUED


def test_progress_makes_rescue_hurry_again(world: World, sweep: Sweeper) -> None:
    run_id = overdue(world, Step.PROVISION)
    sweep("rescue")
    world.store.runs.commit_step(held_claim(world.store, run_id), Step.PROVISION, dispatch_seconds=30)
    assert world.store.runs.get(run_id).rescues == 0


def test_a_step_that_keeps_dying_ends_its_run_and_releases_its_fork(world: World, sweep: Sweeper) -> None:
    claimed = world.at(Step.PROVISION, owner="elsewhere:1:1")
    environment = world.fork_of(claimed)
    tries = world.context.settings.worker.max_step_tries
    for number in range(1, tries + 1):
        expire_lease(world.registry, claimed.run.id)
        action = sweep("rescue")[claimed.run.id]
        assert action == ("sent on" if number < tries else "ended as failed")
        if number < tries:
            held_claim(world.store, claimed.run.id, owner="elsewhere:1:1")
    run = world.store.runs.get(claimed.run.id)
    assert (run.state, run.slot_held) == (RunState.FAILED, False)
    assert f"failed {tries} times" in str(run.reason)
    assert world.environment(environment).state is EnvironmentState.RELEASED


def test_a_run_that_is_given_up_makes_room_and_lets_its_chord_end(world: World, sweep: Sweeper) -> None:
    world.set_project(max_parallel=1)
    _, (first, second) = world.batch(runs=2)
    walk_to(world.store, first, Step.RUN_AGENT)
    acquire(world.store, second, '{"run": "second"}')
    world.execute("UPDATE runs SET step_tries = 99 WHERE id = %s", first)
    expire_lease(world.registry, first)
    assert sweep("rescue") == {first: "ended as failed"}
    sent = [(one.run_ids[0], one.continuation) for one in world.dispatcher.sent]
    assert sent == [(second, '{"run": "second"}'), (first, "{}")]


def test_a_run_that_may_have_merged_is_not_given_up_while_its_target_is_away(world: World, sweep: Sweeper) -> None:
    run_id = overdue(world, Step.SETTLE)
    world.execute("UPDATE runs SET step_tries = 99")
    world.execute("UPDATE projects SET target_conninfo = 'host=127.0.0.1 port=1 dbname=gone'")
    assert sweep("rescue") == {run_id: "left: the target does not answer"}
    assert world.store.runs.get(run_id).state is RunState.SETTLING
    assert waits(world, run_id) > 0


def test_one_run_s_trouble_does_not_keep_the_others(
    world: World, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = overdue(world), overdue(world)
    really = rescue.rescue

    def troubled(context: object, run: Run, **more: bool) -> str:
        if run.id == first:
            raise RuntimeError("password=hunter2")
        return really(world.context, run, **more)

    monkeypatch.setattr(rescue, "rescue", troubled)
    assert sweep("rescue") == {first: "left: password=***", second: "sent on"}


def test_parked_runs_that_nobody_woke_are_woken(world: World, sweep: Sweeper) -> None:
    world.set_project(max_parallel=1)
    _, (first, second) = world.batch(runs=2)
    acquire(world.store, first)
    assert not acquire(world.store, second, '{"run": "second"}')
    world.execute(
        "UPDATE runs SET slot_held = false, state = 'failed', verdict = 'discard', reason = 'x', "
        "finished_at = now() WHERE id = %s",
        first,
    )
    sweep("rescue")
    assert [(sent.run_ids, sent.continuation) for sent in world.dispatcher.sent] == [((second,), '{"run": "second"}')]
    assert world.store.runs.get(second).slot_held


def test_a_batch_that_nobody_summarised_is_summarised(world: World, sweep: Sweeper) -> None:
    experiment, ids = world.batch(runs=2)
    for run_id in ids:
        world.store.runs.finish(run_id, Ending.failed("broken"))
    assert sweep("rescue") == {}
    world.pass_time(seconds=11)
    assert sweep("rescue") == {str(experiment.id): "summary sent"}
    assert [sent.kind for sent in world.dispatcher.sent] == ["summarise"]
    world.dispatcher.deliver(world.context)
    assert sweep("rescue") == {}


def test_a_summary_that_another_worker_works_on_is_left_to_it_for_a_minute(world: World, sweep: Sweeper) -> None:
    experiment, [run_id] = world.batch()
    world.store.runs.finish(run_id, Ending.failed("broken"))
    world.pass_time(seconds=11)
    assert world.store.experiments.claim_summary(experiment.id) is not None
    assert sweep("rescue") == {}
    world.pass_time(seconds=61)
    assert sweep("rescue") == {str(experiment.id): "summary sent"}


def test_cleanup_goes_on_at_once_where_the_worker_is_known_to_be_dead(world: World) -> None:
    run_id = world.at(Step.RUN_AGENT, owner=DEAD).run.id
    rescue.cleanup(world.context, run_id)
    rescue.cleanup(world.context, run_id)
    assert world.store.runs.get(run_id).owner is None
    assert claim(world.store, run_id, Step.RUN_AGENT) is not None
    assert world.dispatcher.resumed()[0] == run_id


@pytest.mark.parametrize("owner", [owner_name(), "elsewhere:1:1"])
def test_cleanup_leaves_a_run_to_a_worker_that_lives_or_may_live(world: World, owner: str) -> None:
    claimed = world.at(Step.RUN_AGENT, owner=owner)
    rescue.cleanup(world.context, claimed.run.id)
    assert world.dispatcher.sent == []
    world.store.runs.commit_step(claimed, Step.RUN_AGENT, dispatch_seconds=30)


def test_cleanup_sends_on_a_run_that_nobody_has(world: World) -> None:
    run_id = world.run()
    rescue.cleanup(world.context, run_id)
    assert world.dispatcher.resumed() == [run_id]


@pytest.mark.parametrize("ending", [Ending.candidate(), Ending.held("x"), Ending.discarded("x"), Ending.failed("x")])
def test_cleanup_does_nothing_for_a_run_that_rests_or_is_finished(world: World, ending: Ending) -> None:
    claimed = world.at(Step.SETTLE)
    world.store.runs.finish(claimed.run.id, ending, claim=claimed)
    rescue.cleanup(world.context, claimed.run.id)
    assert world.dispatcher.sent == []
    assert world.store.runs.get(claimed.run.id).state is ending.to


def test_what_a_dead_worker_left_of_an_agent_is_ended_before_the_run_goes_on(
    world: World, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = world.at(Step.RUN_AGENT)
    environment = world.fork_of(claimed)
    world.execute("UPDATE runs SET process_group = 4711, host = %s", world.context.host)
    calls = []

    def end(run_id: str, group: int | None, *, workspace: object) -> int:
        calls.append((run_id, group, str(workspace).rpartition("/")[2], list(world.dispatcher.sent)))
        return 1

    monkeypatch.setattr(rescue, "end_leftovers", end)
    expire_lease(world.registry, claimed.run.id)
    sweep("rescue")
    assert calls == [(claimed.run.id, 4711, environment.name, [])]


def test_processes_of_another_host_are_left_to_it(
    world: World, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = overdue(world)
    world.execute("UPDATE runs SET process_group = 4711, host = 'elsewhere'")
    monkeypatch.setattr(rescue, "end_leftovers", lambda *_, **__: pytest.fail("not ours to end"))
    assert sweep("rescue") == {run_id: "sent on"}
