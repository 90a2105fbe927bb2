"""The steps one after the other, on forks in memory and delivered by a queue in memory: slots, endings, repetition."""

from __future__ import annotations

import pytest

from orchestrator.errors import ProviderUnavailable, RegistryError
from orchestrator.runs import Ending, EnvironmentState, RunState, Step
from orchestrator.steps.acquire import acquire
from orchestrator.steps.driver import Outcome, perform
from orchestrator.steps.pipeline import PIPELINE, STAGES
from orchestrator.steps.summarise import summarise
from tests.registry import expire_lease, held_claim
from tests.world import World


def states(world: World, ids: list[str]) -> list[RunState]:
    return [world.store.runs.get(run_id).state for run_id in ids]


def assert_clean(world: World, ids: list[str]) -> None:
    lines = world.store.environments.receipt(ids)
    assert lines
    assert [line for line in lines if line["gone_at"] is None] == []
    assert world.forks() == set()


def test_every_step_has_one_stage_in_its_order() -> None:
    assert [stage.step for stage in PIPELINE] == list(Step)[1:]
    assert [stage.step for stage in PIPELINE if stage.runs_when_ending] == [Step.SETTLE]


def test_a_batch_ends_with_every_run_and_nothing_left_though_every_message_arrives_twice(world: World) -> None:
    experiment, ids = world.batch(runs=2, send=True)
    world.dispatcher.deliver(world.context, copies=2)
    assert states(world, ids) == [RunState.DISCARDED] * 2
    assert world.store.runs.get(ids[0]).reason == "the experiment promotes none"
    for run_id in ids:
        done = [row["step"] for row in world.store.runs.attempts(run_id) if row["outcome"] == "done"]
        assert done == [step.value for step in Step]
        assert world.store.runs.get(run_id).agent_starts == 1
    assert world.store.experiments.get(experiment.id).finished_at is not None
    assert_clean(world, ids)


def test_more_runs_than_slots_take_turns(world: World) -> None:
    world.set_project(max_parallel=2)
    most = []
    world.provider.before("create", lambda _: most.append(world.execute("SELECT count(*) FROM runs WHERE slot_held")))
    _, ids = world.batch(runs=4, send=True)
    world.dispatcher.deliver(world.context)
    assert states(world, ids) == [RunState.DISCARDED] * 4
    assert max(most) == [(2,)]
    assert world.dispatcher.resumed() == ids[2:]


def test_a_parked_run_goes_on_with_the_message_that_it_was_parked_with(world: World) -> None:
    world.set_project(max_parallel=1)
    _, (first, second) = world.batch(runs=2)
    assert acquire(world.context, first, "one") is Outcome.DONE
    assert [acquire(world.context, second, "two") for _ in range(2)] == [Outcome.PARKED] * 2
    assert world.store.runs.get(second).continuation == "two"


def test_acquiring_for_a_run_that_has_ended_lets_its_chain_go_on(world: World) -> None:
    run_id = world.run()
    world.store.runs.finish(run_id, Ending.cancelled())
    assert acquire(world.context, run_id) is Outcome.DONE
    assert not world.store.runs.get(run_id).slot_held


def test_what_one_run_suffers_does_not_reach_the_others(world: World) -> None:
    _, ids = world.batch(runs=3, command='case "$FORKYARD_RUN_ID" in *2) exit 3;; esac', send=True)
    world.dispatcher.deliver(world.context)
    assert states(world, ids) == [RunState.DISCARDED, RunState.FAILED, RunState.DISCARDED]
    assert "code 3" in str(world.store.runs.get(ids[1]).reason)


def test_failed_forks_are_kept_to_be_looked_at_where_the_experiment_says_so(world: World) -> None:
    _, [kept] = world.batch(command="exit 1", keep_failed_forks=True, send=True)
    _, [dropped] = world.batch(command="exit 1", keep_failed_forks=False, send=True)
    world.dispatcher.deliver(world.context)
    [environment] = world.store.environments.of_run(kept)
    assert (environment.state, environment.kept) == (EnvironmentState.READY, True)
    assert [e.state for e in world.store.environments.of_run(dropped)] == [EnvironmentState.RELEASED]
    assert world.forks() == {environment.name}


def test_a_fork_that_cannot_be_removed_is_left_to_the_sweeps_and_its_run_ends_all_the_same(world: World) -> None:
    _, [run_id] = world.batch(send=True)
    world.provider.fail_next("destroy", ProviderUnavailable())
    world.dispatcher.deliver(world.context)
    assert states(world, [run_id]) == [RunState.DISCARDED]
    [environment] = world.store.environments.of_run(run_id)
    assert environment.state is EnvironmentState.RELEASING


def test_a_run_whose_fork_somebody_else_took_over_ends_all_the_same(world: World) -> None:
    claim = world.at(Step.PROVISION, keep_failed_forks=False)
    environment = world.fork_of(claim)
    world.store.runs.commit_step(claim, Step.PROVISION, dispatch_seconds=30)
    world.server.databases[environment.name].stamp = "not ours"
    world.dispatcher.resume(claim.run.id, None, steps_done=2)
    world.dispatcher.deliver(world.context)
    run = world.store.runs.get(claim.run.id)
    assert run.state is RunState.FAILED
    assert world.forks() == {environment.name}
    assert "left to the sweeps" in str([row["detail"] for row in world.store.runs.events(run.id)])


def test_an_agent_whose_worker_died_starts_once_more_on_a_fresh_fork(world: World) -> None:
    claim = world.at(Step.PROVISION)
    used = world.fork_of(claim)
    world.store.runs.commit_step(claim, Step.PROVISION, dispatch_seconds=30)
    dead = held_claim(world.store, claim.run.id, Step.RUN_AGENT, "elsewhere:1:1")
    assert world.store.runs.count_agent_start(dead) == 1
    expire_lease(world.registry, claim.run.id)
    assert perform(world.context, STAGES[Step.RUN_AGENT], claim.run.id) is Outcome.DONE
    run = world.store.runs.get(claim.run.id)
    assert (run.agent_starts, run.ending) == (2, None)
    current = world.store.environments.current(run.id)
    assert current is not None
    assert current.name != used.name
    assert world.forks() == {current.name}


def test_an_agent_is_started_twice_at_most(world: World) -> None:
    claim = world.at(Step.PROVISION)
    world.store.runs.commit_step(claim, Step.PROVISION, dispatch_seconds=30)
    world.execute("UPDATE runs SET agent_starts = 2")
    assert perform(world.context, STAGES[Step.RUN_AGENT], claim.run.id) is Outcome.DONE
    run = world.store.runs.get(claim.run.id)
    assert run.ending is RunState.FAILED
    assert "interrupted 2 times" in str(run.reason)


def test_an_interrupted_agent_is_not_started_again_where_the_project_says_so(world: World) -> None:
    world.set_project(restart_interrupted=False)
    claim = world.at(Step.PROVISION)
    world.store.runs.commit_step(claim, Step.PROVISION, dispatch_seconds=30)
    world.execute("UPDATE runs SET agent_starts = 1")
    assert perform(world.context, STAGES[Step.RUN_AGENT], claim.run.id) is Outcome.DONE
    assert "starts no agent twice" in str(world.store.runs.get(claim.run.id).reason)


def test_the_workspace_of_an_agent_is_gone_when_it_ends(world: World) -> None:
    _, [run_id] = world.batch(command="echo told you; pwd > where", send=True)
    world.dispatcher.deliver(world.context)
    folders = [line for line in world.store.environments.receipt([run_id]) if line["kind"] == "folder"]
    assert [line["gone_at"] is not None for line in folders] == [True]
    assert list((world.context.settings.state_dir / "workspaces").iterdir()) == []
    log_hash = world.store.runs.get(run_id).log_hash
    assert log_hash is not None
    assert world.store.artifacts.get(log_hash) == b"told you\n"


def test_migrations_without_a_fork_discard_the_run(world: World) -> None:
    claim = world.at(Step.RUN_AGENT)
    world.store.ledger.record(
        claim.run.id,
        1,
        name="1.sql",
        original="SELECT 1",
        final=None,
        applied=False,
        statements=0,
        duration_seconds=0,
        attempts=(),
    )
    world.store.runs.commit_step(claim, Step.RUN_AGENT, dispatch_seconds=30)
    assert perform(world.context, STAGES[Step.APPLY_MIGRATIONS], claim.run.id) is Outcome.DONE
    assert world.store.runs.get(claim.run.id).ending is RunState.DISCARDED


def test_capture_without_a_fork_fails_the_run(world: World) -> None:
    claim = world.at(Step.APPLY_MIGRATIONS)
    world.store.runs.commit_step(claim, Step.APPLY_MIGRATIONS, dispatch_seconds=30)
    assert perform(world.context, STAGES[Step.CAPTURE], claim.run.id) is Outcome.DONE
    run = world.store.runs.get(claim.run.id)
    assert (run.ending, run.reason) == (RunState.FAILED, "The fork is gone, so its change cannot be captured.")


def test_review_holds_the_run_and_keeps_its_fork(world: World) -> None:
    experiment, [run_id] = world.batch(promote="review", send=True)
    world.dispatcher.deliver(world.context)
    run = world.store.runs.get(run_id)
    assert (run.state, run.slot_held) == (RunState.HELD, False)
    [environment] = world.store.environments.of_run(run_id)
    assert (environment.state, environment.kept) == (EnvironmentState.READY, True)
    assert world.store.experiments.get(experiment.id).finished_at is not None


BEST = {"promote": "best", "metrics": {"size": "SELECT 1"}, "best_by": ["size"]}


def candidates(world: World, count: int) -> tuple[int, list[str]]:
    """A batch whose runs all wait for the summary, which has not been asked for."""
    experiment, ids = world.batch(runs=count, **BEST)
    for run_id in ids:
        claim = world.at(Step.SETTLE, run_id)
        world.store.runs.store_results(claim, baseline_fingerprint=world.fingerprint)
        world.store.runs.store_measurements(claim, {"size": 1})
        world.store.runs.finish(run_id, Ending.candidate(), claim=claim)
    world.dispatcher.forget()
    return experiment.id, ids


def test_the_summary_sends_the_best_run_and_discards_the_others_once(world: World) -> None:
    world.set_project(max_parallel=3)
    experiment_id, ids = candidates(world, 3)
    world.execute("UPDATE measurements SET value = CASE run_id WHEN %s THEN 9 ELSE 1 END", ids[1])
    world.dispatcher.sent.clear()
    for _ in range(3):
        summarise(world.context, experiment_id)
    assert states(world, ids) == [RunState.DISCARDED, RunState.SETTLING, RunState.DISCARDED]
    assert world.dispatcher.resumed() == [ids[1]]
    assert f"not the best: {ids[1]} is" in str(world.store.runs.get(ids[0]).reason)
    assert world.store.experiments.get(experiment_id).best_run == ids[1]


def test_a_batch_that_promotes_its_best_run_comes_to_its_end(world: World) -> None:
    """Delivered to the last message: the chosen run merges nothing, for nothing was changed."""
    world.set_project(max_parallel=3)
    experiment, ids = world.batch(runs=2, send=True, **BEST)
    world.dispatcher.deliver(world.context)
    assert world.store.experiments.get(experiment.id).finished_at is not None
    assert world.store.experiments.get(experiment.id).best_run in ids
    assert RunState.DISCARDED in states(world, ids)
    assert RunState.CANDIDATE not in states(world, ids)


def test_the_summary_waits_for_live_runs(world: World) -> None:
    experiment, ids = world.batch(runs=2, **BEST)
    summarise(world.context, experiment.id)
    assert world.store.experiments.get(experiment.id).finished_at is None
    assert states(world, ids) == [RunState.QUEUED] * 2


def test_the_summary_of_a_cancelled_batch_cancels_its_candidates(world: World) -> None:
    experiment_id, ids = candidates(world, 2)
    world.store.experiments.request_cancel(experiment_id)
    summarise(world.context, experiment_id)
    assert states(world, ids) == [RunState.CANCELLED] * 2


def test_a_batch_without_a_candidate_ends_with_its_totals(world: World) -> None:
    experiment, ids = world.batch(runs=2, command="exit 1", send=True, **BEST)
    world.dispatcher.deliver(world.context)
    assert states(world, ids) == [RunState.FAILED] * 2
    found = world.store.experiments.get(experiment.id)
    assert (found.finished_at is not None, found.summary) == (True, "2 failed")


def test_a_summary_that_failed_halfway_is_taken_up_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment_id, ids = candidates(world, 2)
    begin = world.store.runs.begin_promotion

    def broken(*_: object, **__: object) -> bool:
        monkeypatch.setattr(world.store.runs, "begin_promotion", begin)
        raise RegistryError("The registry refused.")

    monkeypatch.setattr(world.store.runs, "begin_promotion", broken)
    with pytest.raises(RegistryError):
        summarise(world.context, experiment_id)
    summarise(world.context, experiment_id)
    assert sorted(states(world, ids)) == [RunState.DISCARDED, RunState.SETTLING]
