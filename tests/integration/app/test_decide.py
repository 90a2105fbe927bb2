"""What a person may decide about a run, in each of its states."""

from __future__ import annotations

import pytest

from orchestrator.app.decide import cancel, cancel_experiment, discard, promote
from orchestrator.errors import NotPossible
from orchestrator.runs import RESTING, STEP_STATE, TERMINAL, Ending, EnvironmentState, RunState, Step
from orchestrator.store import Environment, Run
from tests.registry import acquire
from tests.world import World

STEPS = {state: step for step, state in STEP_STATE.items() if step is not Step.ACQUIRE}
ENDINGS = {
    RunState.MERGED: Ending.merged("good"),
    RunState.DISCARDED: Ending.discarded("bad"),
    RunState.FAILED: Ending.failed("broken"),
    RunState.CANCELLED: Ending.cancelled(),
    RunState.CANDIDATE: Ending.candidate(),
    RunState.HELD: Ending.held("waits"),
}


def run_in(world: World, state: RunState, *, claimed: bool = False) -> tuple[str, Environment | None]:
    """A run in that state, and the fork that it has."""
    if state is RunState.QUEUED:
        return world.run(), None
    claim = world.at(STEPS.get(state, Step.SETTLE))
    environment = world.fork_of(claim)
    if state in ENDINGS:
        world.store.runs.finish(claim.run.id, ENDINGS[state], claim=claim)
    elif not claimed:
        world.store.runs.release_claim(claim, reason="a retry is on its way", delay_seconds=30)
    return claim.run.id, environment


def now(world: World, run_id: str) -> Run:
    return world.store.runs.get(run_id)


def is_released(world: World, environment: Environment | None) -> bool:
    return environment is not None and world.environment(environment).state is EnvironmentState.RELEASED


@pytest.mark.parametrize("state", sorted(RESTING))
def test_a_resting_run_is_promoted_and_sent_to_be_merged_once(world: World, state: RunState) -> None:
    run_id, _ = run_in(world, state)
    promote(world.context, run_id, reason="it is good")
    run = now(world, run_id)
    assert (run.state, run.verdict, run.reason, run.steps_done) == (RunState.SETTLING, "promote", "it is good", 5)
    assert [(sent.run_ids, sent.steps_done) for sent in world.dispatcher.sent] == [((run_id,), 5)]
    with pytest.raises(NotPossible, match="is settling"):
        promote(world.context, run_id)


@pytest.mark.parametrize("state", [state for state in RunState if state not in RESTING])
def test_a_run_in_any_other_state_is_neither_promoted_nor_discarded(world: World, state: RunState) -> None:
    run_id, environment = run_in(world, state)
    before = now(world, run_id)
    for decision in (promote, discard):
        with pytest.raises(NotPossible, match=f"is {state}: only held runs"):
            decision(world.context, run_id)
    assert now(world, run_id) == before
    assert not is_released(world, environment)
    assert world.dispatcher.sent == []


@pytest.mark.parametrize("state", sorted(RESTING))
def test_a_resting_run_is_discarded_with_its_fork_and_its_batch_is_summarised(world: World, state: RunState) -> None:
    run_id, environment = run_in(world, state)
    found = discard(world.context, run_id, reason="not this one")
    assert (found.state, found.reason) == (RunState.DISCARDED, "not this one")
    assert is_released(world, environment)
    assert [sent.kind for sent in world.dispatcher.sent] == ["summarise"]
    with pytest.raises(NotPossible):
        discard(world.context, run_id)


def test_the_fork_that_a_failed_run_kept_can_be_let_go(world: World) -> None:
    run_id, environment = run_in(world, RunState.FAILED)
    assert environment is not None
    world.store.environments.keep(environment.id, reason="to look at")
    assert discard(world.context, run_id).state is RunState.FAILED
    assert is_released(world, environment)
    with pytest.raises(NotPossible):
        discard(world.context, run_id)


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_a_finished_run_cannot_be_cancelled(world: World, state: RunState) -> None:
    run_id, _ = run_in(world, state)
    with pytest.raises(NotPossible, match=f"is {state} already"):
        cancel(world.context, run_id)
    assert now(world, run_id).cancel_requested_at is None


@pytest.mark.parametrize("state", sorted(RESTING))
def test_a_resting_run_is_cancelled_at_once(world: World, state: RunState) -> None:
    run_id, environment = run_in(world, state)
    assert cancel(world.context, run_id).state is RunState.CANCELLED
    assert is_released(world, environment)


@pytest.mark.parametrize("state", [RunState.PROVISIONING, RunState.RUNNING, RunState.MIGRATING, RunState.CAPTURING])
def test_a_run_that_nobody_works_on_is_cancelled_at_once_with_its_fork(world: World, state: RunState) -> None:
    run_id, environment = run_in(world, state)
    assert cancel(world.context, run_id).state is RunState.CANCELLED
    assert is_released(world, environment)
    assert not now(world, run_id).slot_held
    assert [sent.run_ids for sent in world.dispatcher.sent if sent.kind == "resume"] == [(run_id,)]


def test_a_queued_run_is_cancelled_at_once(world: World) -> None:
    run_id, _ = run_in(world, RunState.QUEUED)
    assert cancel(world.context, run_id).state is RunState.CANCELLED


def test_a_parked_run_is_cancelled_at_once_and_its_chain_goes_to_its_end(world: World) -> None:
    world.set_project(max_parallel=1)
    _, (first, second) = world.batch(runs=2)
    acquire(world.store, first)
    assert not acquire(world.store, second, '{"run": "second", "step": 0}')
    assert cancel(world.context, second).state is RunState.CANCELLED
    assert [(sent.run_ids, sent.continuation) for sent in world.dispatcher.sent] == [
        ((second,), '{"run": "second", "step": 0}')
    ]


@pytest.mark.parametrize("state", list(STEPS))
def test_a_run_that_a_worker_has_is_only_asked_to_end(world: World, state: RunState) -> None:
    run_id, environment = run_in(world, state, claimed=True)
    found = cancel(world.context, run_id)
    assert (found.state, found.owner) == (state, world.context.owner)
    assert found.cancel_requested_at is not None
    assert not is_released(world, environment)
    assert cancel(world.context, run_id).cancel_requested_at == found.cancel_requested_at


def test_a_run_that_settles_is_never_ended_under_its_merge(world: World) -> None:
    run_id, _ = run_in(world, RunState.SETTLING)
    found = cancel(world.context, run_id)
    assert (found.state, found.cancel_requested_at is not None) == (RunState.SETTLING, True)


def test_a_promoted_run_that_is_cancelled_too_late_is_left_to_its_merge(world: World) -> None:
    run_id, _ = run_in(world, RunState.HELD)
    promote(world.context, run_id)
    assert cancel(world.context, run_id).state is RunState.SETTLING


def test_cancelling_an_experiment_ends_what_can_end_and_asks_the_rest(world: World) -> None:
    world.set_project(max_parallel=2)
    experiment, (working, waiting, parked, done) = world.batch(runs=4)
    world.at(Step.RUN_AGENT, working)
    acquire(world.store, waiting)
    acquire(world.store, parked)
    world.store.runs.finish(done, Ending.failed("broken"))
    found = {run.id: run.state for run in cancel_experiment(world.context, experiment)}
    assert found == {working: RunState.RUNNING, waiting: RunState.CANCELLED, parked: RunState.CANCELLED}
    assert now(world, working).cancel_requested_at is not None
    assert now(world, done).state is RunState.FAILED
    assert [run.state for run in cancel_experiment(world.context, experiment)] == [RunState.RUNNING]


def test_a_cancel_frees_the_slot_for_the_next_run(world: World) -> None:
    world.set_project(max_parallel=1)
    _, (first, second) = world.batch(runs=2)
    acquire(world.store, first)
    acquire(world.store, second, '{"run": "second"}')
    cancel(world.context, first)
    assert now(world, second).slot_held
    assert second in world.dispatcher.resumed()
