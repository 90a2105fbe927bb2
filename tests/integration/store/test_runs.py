"""Claims, epochs, slots and the single terminal transition, on a real registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from orchestrator.errors import Fenced, IllegalTransition, NotFound
from orchestrator.runs import Ending, RunState, Step
from orchestrator.store import Project, Store
from tests.registry import acquire, claim, expire_lease, held_claim, walk_to

Batch = Callable[..., Any]


def test_run_ids_name_experiment_variant_and_repeat(batch: Batch) -> None:
    _, ids = batch(runs=2)
    assert ids == ["clean/careful#1", "clean/careful#2"]


def test_a_second_experiment_of_a_name_gets_a_number(batch: Batch) -> None:
    batch()
    experiment, ids = batch()
    assert experiment.handle == "clean.2"
    assert ids[0] == "clean.2/careful#1"


def test_slots_are_bounded_by_the_project(store: Store, batch: Batch) -> None:
    _, ids = batch(runs=3, parallel=3)
    assert [acquire(store, run_id) for run_id in ids] == [True, True, False]
    assert store.runs.get(ids[2]).parked_at is not None


def test_slots_are_bounded_by_the_experiment(store: Store, batch: Batch) -> None:
    _, ids = batch(runs=2, parallel=1)
    assert [acquire(store, run_id) for run_id in ids] == [True, False]


def test_acquiring_twice_takes_one_slot(store: Store, batch: Batch) -> None:
    _, ids = batch(runs=3, parallel=3)
    assert acquire(store, ids[0])
    assert acquire(store, ids[0])
    assert acquire(store, ids[1])


def test_the_oldest_parked_run_is_woken_with_its_continuation(store: Store, batch: Batch) -> None:
    _, ids = batch(runs=4, parallel=4)
    assert [acquire(store, run_id, f'"{run_id}"') for run_id in ids] == [True, True, False, False]
    finished = store.runs.finish(ids[0], Ending.failed("broken"))
    assert finished is not None
    assert [(one.run_id, one.continuation) for one in finished.woken] == [(ids[2], f'"{ids[2]}"')]
    assert acquire(store, ids[2])
    assert store.runs.get(ids[3]).parked_at is not None


def test_a_claim_excludes_a_second_one_while_its_lease_lasts(store: Store, batch: Batch) -> None:
    _, ids = batch()
    acquire(store, ids[0])
    assert claim(store, ids[0]) is not None
    assert claim(store, ids[0], owner="w:2:2") is None


def test_a_stale_epoch_can_write_nothing(store: Store, registry: str, batch: Batch) -> None:
    _, ids = batch()
    acquire(store, ids[0])
    stale = held_claim(store, ids[0])
    expire_lease(registry, ids[0])
    fresh = held_claim(store, ids[0])
    assert fresh.epoch == stale.epoch + 1
    for write in (
        lambda: store.runs.heartbeat(stale, lease_seconds=60),
        lambda: store.runs.commit_step(stale, Step.PROVISION, dispatch_seconds=30),
        lambda: store.runs.record_process(stale, 1),
        lambda: store.runs.count_agent_start(stale),
        lambda: store.runs.store_results(stale, notes="late"),
        lambda: store.runs.release_claim(stale, reason="late", delay_seconds=1),
        lambda: store.runs.finish(ids[0], Ending.failed("late"), claim=stale),
    ):
        with pytest.raises(Fenced):
            write()
    store.runs.commit_step(fresh, Step.PROVISION, dispatch_seconds=30)
    assert store.runs.get(ids[0]).steps_done == 2


def test_a_lost_attempt_is_on_record(store: Store, registry: str, batch: Batch) -> None:
    _, ids = batch()
    acquire(store, ids[0])
    held_claim(store, ids[0])
    expire_lease(registry, ids[0])
    held_claim(store, ids[0])
    assert [row["outcome"] for row in store.runs.attempts(ids[0])] == ["done", "lost", None]


def test_a_step_is_claimed_in_its_turn_only(store: Store, batch: Batch) -> None:
    _, ids = batch()
    assert claim(store, ids[0], Step.PROVISION) is None
    acquire(store, ids[0])
    assert claim(store, ids[0], Step.CAPTURE) is None
    first = held_claim(store, ids[0], Step.PROVISION)
    store.runs.commit_step(first, Step.PROVISION, dispatch_seconds=30)
    assert claim(store, ids[0], Step.PROVISION) is None


def test_finishing_twice_happens_once(store: Store, batch: Batch) -> None:
    _, ids = batch(runs=1)
    settling = walk_to(store, ids[0], Step.SETTLE)
    first = store.runs.finish(ids[0], Ending.discarded("not good"), claim=settling)
    assert first is not None
    assert first.batch_done
    assert store.runs.finish(ids[0], Ending.failed("again")) is None
    assert store.runs.get(ids[0]).state is RunState.DISCARDED


def test_only_the_last_run_ends_the_batch(store: Store, batch: Batch) -> None:
    _, ids = batch(runs=2)
    done = [store.runs.finish(run_id, Ending.cancelled()) for run_id in ids]
    assert [one.batch_done for one in done if one] == [False, True]


def test_an_illegal_transition_is_refused(store: Store, batch: Batch) -> None:
    _, ids = batch()
    with pytest.raises(IllegalTransition, match="queued"):
        store.runs.finish(ids[0], Ending.merged("too early"))
    assert store.runs.get(ids[0]).state is RunState.QUEUED


def test_a_candidate_is_promoted_and_settled_again_without_a_slot(store: Store, batch: Batch) -> None:
    _, ids = batch(runs=1)
    settling = walk_to(store, ids[0], Step.SETTLE)
    store.runs.finish(ids[0], Ending.candidate(), claim=settling)
    assert not store.runs.get(ids[0]).slot_held
    assert store.runs.begin_promotion(ids[0], reason="best", dispatch_seconds=30)
    assert not store.runs.begin_promotion(ids[0], reason="best", dispatch_seconds=30)
    again = held_claim(store, ids[0], Step.SETTLE)
    store.runs.finish(ids[0], Ending.merged("best"), claim=again)
    run = store.runs.get(ids[0])
    assert (run.state, run.verdict, run.merged_at is not None) == (RunState.MERGED, "promote", True)


def test_overdue_runs_are_found_and_taken_once(store: Store, registry: str, batch: Batch) -> None:
    _, ids = batch(runs=2)
    acquire(store, ids[0])
    held_claim(store, ids[0])
    assert store.runs.overdue(limit=10) == []
    expire_lease(registry, ids[0])
    [overdue] = store.runs.overdue(limit=10)
    assert store.runs.postpone(overdue, delay_seconds=30)
    assert not store.runs.postpone(overdue, delay_seconds=30)
    assert store.runs.get(ids[0]).epoch == overdue.epoch + 1


def test_parked_runs_are_never_overdue(store: Store, registry: str, batch: Batch) -> None:
    _, ids = batch(runs=2, parallel=1)
    acquire(store, ids[0])
    acquire(store, ids[1])
    expire_lease(registry, ids[1])
    assert [run.id for run in store.runs.overdue(limit=10)] == []


def test_a_heartbeat_tells_of_a_cancel(store: Store, batch: Batch) -> None:
    _, ids = batch()
    acquire(store, ids[0])
    mine = held_claim(store, ids[0])
    assert store.runs.heartbeat(mine, lease_seconds=60) is False
    store.runs.request_cancel(ids[0])
    assert store.runs.heartbeat(mine, lease_seconds=60) is True


def test_an_unknown_run_gets_a_suggestion(store: Store, batch: Batch) -> None:
    batch(runs=1)
    with pytest.raises(NotFound, match=r"Did you mean clean/careful#1"):
        store.runs.get("claen/careful#1")


def test_every_transition_writes_an_event(store: Store, batch: Batch) -> None:
    _, ids = batch(runs=1)
    settling = walk_to(store, ids[0], Step.SETTLE)
    store.runs.finish(ids[0], Ending.candidate(), claim=settling)
    kinds = [(row["kind"], row["detail"]) for row in store.runs.events(ids[0])]
    assert [detail for kind, detail in kinds if kind == "state"] == [
        "provisioning",
        "running",
        "migrating",
        "capturing",
        "settling",
    ]
    assert kinds[-1][0] == "candidate"


def test_the_database_refuses_a_slot_for_a_finished_run(registry: str, store: Store, batch: Batch) -> None:
    _, ids = batch(runs=1)
    store.runs.finish(ids[0], Ending.failed("x"))
    with psycopg.connect(registry) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("UPDATE forkyard_registry.runs SET slot_held = true WHERE id = %s", (ids[0],))


def test_wake_repairs_a_lost_wake_up(store: Store, project: Project, registry: str, batch: Batch) -> None:
    _, ids = batch(runs=1)
    with psycopg.connect(registry) as connection:
        connection.execute("UPDATE forkyard_registry.runs SET parked_at = now() WHERE id = %s", (ids[0],))
    assert [one.run_id for one in store.runs.wake(dispatch_seconds=30)] == ids
    assert store.runs.wake(dispatch_seconds=30) == ()
