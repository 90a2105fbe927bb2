"""How every step runs: claimed, done once, recorded under its own epoch; or passed on to whom it belongs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from orchestrator.errors import (
    AgentFailed,
    Cancelled,
    CapacityExceeded,
    Fenced,
    ProviderUnavailable,
    RegistryUnavailable,
)
from orchestrator.runs import Ending, RunState, Step
from orchestrator.steps.context import Context, Discard
from orchestrator.steps.driver import Act, Heartbeat, Outcome, Stage, perform
from orchestrator.steps.pulse import Pulse
from orchestrator.store import Claim
from tests.registry import acquire, claim, expire_lease, held_claim, walk_to
from tests.world import World, until


class Recorded:
    """A step's work that counts its calls, and does what it is told to."""

    def __init__(self, work: Callable[[Context, Claim, Heartbeat], Ending | None] | None = None) -> None:
        self.claims: list[Claim] = []
        self._work = work

    def __call__(self, context: Context, claim: Claim, heartbeat: Heartbeat) -> Ending | None:
        self.claims.append(claim)
        return self._work(context, claim, heartbeat) if self._work else None


def failing(error: BaseException) -> Recorded:
    def fail(context: Context, claim: Claim, heartbeat: Heartbeat) -> Ending | None:
        raise error

    return Recorded(fail)


def provision(act: Act) -> Stage:
    return Stage(Step.PROVISION, act)


def ready(world: World) -> str:
    """A run that holds a slot and waits for its first step."""
    run_id = world.run()
    assert acquire(world.store, run_id)
    return run_id


def settled(world: World, run_id: str) -> RunState:
    """The run's state after all later steps had their turn."""
    acts = Recorded()
    for step in list(Step)[2:5]:
        assert perform(world.context, Stage(step, acts), run_id) is Outcome.DONE
    assert acts.claims == []

    def end(context: Context, claim: Claim, heartbeat: Heartbeat) -> Ending:
        assert claim.run.ending is not None
        return Ending(to=claim.run.ending, verdict=Ending.failed("").verdict, reason=str(claim.run.reason))

    assert perform(world.context, Stage(Step.SETTLE, end, runs_when_ending=True), run_id) is Outcome.DONE
    return world.store.runs.get(run_id).state


def test_a_step_is_claimed_done_and_recorded(world: World) -> None:
    run_id, act = ready(world), Recorded()
    assert perform(world.context, provision(act), run_id) is Outcome.DONE
    run = world.store.runs.get(run_id)
    assert (run.steps_done, run.state, run.owner) == (2, RunState.PROVISIONING, None)
    assert act.claims[0].owner == world.context.owner
    attempt = world.store.runs.attempts(run_id)[-1]
    assert (attempt["step"], attempt["worker"], attempt["outcome"]) == ("provision", world.context.owner, "done")


def test_a_step_that_is_delivered_twice_is_done_once_and_lets_both_chains_go_on(world: World) -> None:
    run_id, act = ready(world), Recorded()
    assert [perform(world.context, provision(act), run_id) for _ in range(2)] == [Outcome.DONE, Outcome.DONE]
    assert len(act.claims) == 1


def test_a_step_whose_turn_has_not_come_is_left_to_the_chain(world: World) -> None:
    run_id, act = ready(world), Recorded()
    assert perform(world.context, Stage(Step.CAPTURE, act), run_id) is Outcome.IGNORED
    assert act.claims == []


def test_a_run_that_another_worker_has_is_left_to_it(world: World) -> None:
    run_id, act = ready(world), Recorded()
    held_claim(world.store, run_id, owner="elsewhere:1:1")
    assert perform(world.context, provision(act), run_id) is Outcome.IGNORED
    assert act.claims == []
    assert world.store.runs.get(run_id).owner == "elsewhere:1:1"


def test_a_run_whose_owner_fell_silent_is_taken_over(world: World) -> None:
    run_id, act = ready(world), Recorded()
    held_claim(world.store, run_id, owner="elsewhere:1:1")
    expire_lease(world.registry, run_id)
    assert perform(world.context, provision(act), run_id) is Outcome.DONE
    assert [attempt["outcome"] for attempt in world.store.runs.attempts(run_id)] == ["done", "lost", "done"]


@pytest.mark.parametrize("ending", [Ending.failed("broken"), Ending.cancelled()])
def test_a_step_of_a_finished_run_does_nothing_and_lets_the_chain_go_on(world: World, ending: Ending) -> None:
    run_id, act = ready(world), Recorded()
    world.store.runs.finish(run_id, ending)
    assert perform(world.context, provision(act), run_id) is Outcome.DONE
    assert act.claims == []


def test_a_step_of_a_resting_run_does_nothing_and_lets_the_chain_go_on(world: World) -> None:
    claim, act = world.at(Step.SETTLE), Recorded()
    world.store.runs.finish(claim.run.id, Ending.candidate(), claim=claim)
    assert perform(world.context, Stage(Step.SETTLE, act, runs_when_ending=True), claim.run.id) is Outcome.DONE
    assert act.claims == []
    assert world.store.runs.get(claim.run.id).state is RunState.CANDIDATE


def test_a_worker_that_was_fenced_out_writes_nothing(world: World) -> None:
    run_id = ready(world)

    def overtaken(context: Context, claim: Claim, heartbeat: Heartbeat) -> Ending:
        expire_lease(world.registry, run_id)
        held_claim(world.store, run_id, owner="elsewhere:1:1")
        return Ending.failed("what the slow one thinks")

    assert perform(world.context, provision(overtaken), run_id) is Outcome.IGNORED
    run = world.store.runs.get(run_id)
    assert (run.owner, run.steps_done, run.ending, run.reason) == ("elsewhere:1:1", 1, None, None)


def test_a_worker_that_is_fenced_out_while_it_passes_on_is_ignored_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = ready(world)
    world.store.runs.request_cancel(run_id)

    def overtaken(*_: object, **__: object) -> None:
        raise Fenced(run=run_id)

    monkeypatch.setattr(world.store.runs, "commit_step", overtaken)
    assert perform(world.context, provision(Recorded()), run_id) is Outcome.IGNORED


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (AgentFailed("It exited with code 3."), RunState.FAILED, "It exited with code 3."),
        (Discard("Not good enough."), RunState.DISCARDED, "Not good enough."),
        (Cancelled(), RunState.CANCELLED, "cancelled by a person"),
        (ZeroDivisionError("oh"), RunState.FAILED, "internal error in provision: ZeroDivisionError: oh"),
        (
            AgentFailed("could not log in at postgresql://a:hunter2@h/d"),
            RunState.FAILED,
            "could not log in at postgresql://a:***@h/d",
        ),
        (
            RuntimeError("password=hunter2"),
            RunState.FAILED,
            "internal error in provision: RuntimeError: password=***",
        ),
    ],
)
def test_an_error_of_a_step_is_the_end_of_the_run_and_not_of_its_chain(
    world: World, error: Exception, state: RunState, reason: str
) -> None:
    run_id = ready(world)
    assert perform(world.context, provision(failing(error)), run_id) is Outcome.DONE
    run = world.store.runs.get(run_id)
    assert (run.state, run.ending, run.reason) == (RunState.PROVISIONING, state, reason)
    assert settled(world, run_id) is state
    assert world.store.runs.get(run_id).reason == reason


def test_steps_after_an_ending_are_on_record_as_passed(world: World) -> None:
    run_id = ready(world)
    perform(world.context, provision(failing(AgentFailed())), run_id)
    settled(world, run_id)
    outcomes = {row["step"]: row["outcome"] for row in world.store.runs.attempts(run_id)}
    assert outcomes["provision"] == "failed"
    assert {outcomes[step] for step in ("run_agent", "apply_migrations", "capture")} == {"passed"}


def test_what_may_pass_is_tried_again_until_the_tries_are_used_up(world: World) -> None:
    run_id, act = ready(world), failing(CapacityExceeded("No room at postgresql://a:hunter2@h/d."))
    tries = world.context.settings.worker.max_step_tries
    for _ in range(tries - 1):
        with pytest.raises(CapacityExceeded):
            perform(world.context, provision(act), run_id)
        run = world.store.runs.get(run_id)
        assert (run.owner, run.ending, run.slot_held) == (None, None, True)
    assert perform(world.context, provision(act), run_id) is Outcome.DONE
    run = world.store.runs.get(run_id)
    assert (run.ending, run.reason) == (RunState.FAILED, "No room at postgresql://a:***@h/d.")
    attempts = [row for row in world.store.runs.attempts(run_id) if row["step"] == "provision"]
    assert [row["outcome"] for row in attempts] == ["retry"] * (tries - 1) + ["failed"]
    assert "hunter2" not in str(attempts)


def test_a_step_that_worked_in_the_end_starts_the_next_one_with_all_its_tries(world: World) -> None:
    run_id = ready(world)
    with pytest.raises(ProviderUnavailable):
        perform(world.context, provision(failing(ProviderUnavailable())), run_id)
    assert perform(world.context, provision(Recorded()), run_id) is Outcome.DONE
    assert world.store.runs.get(run_id).step_tries == 0


def test_a_registry_that_went_away_is_no_verdict_on_the_run(world: World) -> None:
    run_id = ready(world)
    with pytest.raises(RegistryUnavailable):
        perform(world.context, provision(failing(RegistryUnavailable())), run_id)
    run = world.store.runs.get(run_id)
    assert (run.ending, run.owner) == (None, world.context.owner)


def test_a_cancelled_run_starts_no_step(world: World) -> None:
    run_id, act = ready(world), Recorded()
    world.store.runs.request_cancel(run_id)
    assert perform(world.context, provision(act), run_id) is Outcome.DONE
    assert act.claims == []
    assert settled(world, run_id) is RunState.CANCELLED


def test_the_first_ending_stands(world: World) -> None:
    run_id = ready(world)
    perform(world.context, provision(failing(AgentFailed("first"))), run_id)
    world.store.runs.request_cancel(run_id)
    assert settled(world, run_id) is RunState.FAILED
    assert world.store.runs.get(run_id).reason == "first"


def test_settle_ends_the_run_and_sends_on_whom_it_kept_waiting(world: World) -> None:
    world.set_project(max_parallel=1)
    _, (first, second) = world.batch(runs=2)
    last = walk_to(world.store, first, Step.CAPTURE, world.context.owner)
    assert not acquire(world.store, second, '{"run": "second", "step": 0}')
    world.store.runs.commit_step(last, Step.CAPTURE, dispatch_seconds=30)

    def discard(context: Context, claim: Claim, heartbeat: Heartbeat) -> Ending:
        return Ending.discarded("not needed")

    stage = Stage(Step.SETTLE, discard, runs_when_ending=True)
    assert [perform(world.context, stage, first) for _ in range(2)] == [Outcome.DONE, Outcome.DONE]
    assert world.store.runs.get(first).state is RunState.DISCARDED
    assert [(sent.run_ids, sent.continuation) for sent in world.dispatcher.sent] == [
        ((second,), '{"run": "second", "step": 0}')
    ]
    assert world.store.runs.get(second).slot_held


def test_a_broker_that_is_away_does_not_undo_an_ending(world: World) -> None:
    settling = world.at(Step.CAPTURE)
    world.store.runs.commit_step(settling, Step.CAPTURE, dispatch_seconds=30)
    world.dispatcher.away = True

    def discard(context: Context, claim: Claim, heartbeat: Heartbeat) -> Ending:
        return Ending.discarded("not needed")

    assert perform(world.context, Stage(Step.SETTLE, discard), settling.run.id) is Outcome.DONE
    assert world.store.runs.get(settling.run.id).state is RunState.DISCARDED


@pytest.fixture
def hasty(world: World) -> Iterator[Context]:
    """A worker whose heart beats all the time; it is at rest again when the test is over."""
    context = replace(world.context)
    context.pulse = Pulse(0.02)
    yield context
    assert until(lambda: context.pulse._thread is None)


def test_the_heartbeat_keeps_the_lease_while_a_step_works(world: World, hasty: Context) -> None:
    run_id = ready(world)

    def work(context: Context, claim: Claim, heartbeat: Heartbeat) -> None:
        expire_lease(world.registry, run_id)
        assert until(lambda: world.store.runs.overdue(limit=1) == [])

    assert perform(hasty, provision(Recorded(work)), run_id) is Outcome.DONE
    assert world.store.runs.get(run_id).ending is None


def test_a_cancel_reaches_a_step_that_works(world: World, hasty: Context) -> None:
    run_id = ready(world)

    def work(context: Context, claim: Claim, heartbeat: Heartbeat) -> None:
        heartbeat.raise_if_stopped()
        world.store.runs.request_cancel(run_id)
        assert until(heartbeat.should_stop)
        heartbeat.raise_if_stopped()

    assert perform(hasty, provision(Recorded(work)), run_id) is Outcome.DONE
    assert world.store.runs.get(run_id).ending is RunState.CANCELLED


def test_a_step_learns_that_it_was_fenced_out(world: World, hasty: Context) -> None:
    run_id = ready(world)

    def work(context: Context, claimed: Claim, heartbeat: Heartbeat) -> None:
        # The heart may beat in between, and then it keeps the run for a moment longer.
        def overtaken() -> bool:
            expire_lease(world.registry, run_id)
            return claim(world.store, run_id, owner="elsewhere:1:1") is not None

        assert until(overtaken)
        assert until(heartbeat.should_stop)
        heartbeat.raise_if_stopped()

    assert perform(hasty, provision(Recorded(work)), run_id) is Outcome.IGNORED
    assert world.store.runs.get(run_id).owner == "elsewhere:1:1"


def test_a_heartbeat_that_breaks_does_not_end_those_that_follow(
    world: World, hasty: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = ready(world)
    beat, beats = world.store.runs.heartbeat, []

    def broken(claim: Claim, *, lease_seconds: float) -> bool:
        beats.append(claim)
        if len(beats) == 1:
            raise RuntimeError("nobody thought of this")
        return beat(claim, lease_seconds=lease_seconds)

    monkeypatch.setattr(world.store.runs, "heartbeat", broken)

    def work(context: Context, claim: Claim, heartbeat: Heartbeat) -> None:
        expire_lease(world.registry, run_id)
        assert until(lambda: world.store.runs.overdue(limit=1) == [])

    assert perform(hasty, provision(Recorded(work)), run_id) is Outcome.DONE
    assert world.store.runs.get(run_id).ending is None


def test_two_workers_at_once_do_a_step_once(world: World) -> None:
    run_id = ready(world)
    both, outcomes = threading.Barrier(2), []
    act = Recorded()

    def work(owner: str) -> None:
        both.wait(5)
        outcomes.append(perform(world.worker(owner), provision(act), run_id))

    threads = [threading.Thread(target=work, args=(f"w:{n}:1",)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(act.claims) == 1
    assert Outcome.DONE in outcomes
