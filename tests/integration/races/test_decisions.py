"""A person, a worker and a sweep decide about one run at the same moment: the registry and the target must agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from orchestrator.app import decide
from orchestrator.errors import NotPossible
from orchestrator.maintenance import expire, rescue
from orchestrator.merge import marker
from orchestrator.runs import Ending, RunState, Step
from orchestrator.steps import settle, summarise
from orchestrator.steps.driver import perform
from orchestrator.steps.pipeline import STAGES
from orchestrator.store import Run
from orchestrator.store.runs import Runs


def just_after_reading(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Once, right after a run was read and before anything is decided on what was read, somebody else acts."""
    read = Runs.get
    done: list[bool] = []

    def get(self: Runs, run_id: str) -> Run:
        run = read(self, run_id)
        if not done:
            done.append(True)
            act()
        return run

    monkeypatch.setattr(Runs, "get", get)


def outcome_in_target(world: Any, run_id: str) -> str | None:
    with psycopg.connect(world.target) as connection:
        found = marker.read(connection, run_id, installation=world.context.installation)
    return found.outcome if found else None


def test_a_candidate_is_not_discarded_under_its_merge(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id, _ = world.batch()
    world.settle(run_id, Ending.candidate())

    def promoted_and_claimed() -> None:
        decide.promote(world.context, run_id)
        world.claim(run_id, Step.SETTLE)

    just_after_reading(monkeypatch, promoted_and_claimed)
    with pytest.raises(NotPossible):
        decide.discard(world.context, run_id)
    assert world.store.runs.get(run_id).state is RunState.SETTLING


def test_the_summary_discards_no_run_that_a_person_promotes(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = world.batch()
    world.settle(first, Ending.candidate())
    world.settle(second, Ending.candidate())
    experiment = world.store.runs.get(first).experiment_id

    def choose(*_: object) -> tuple[str, str]:
        decide.promote(world.context, second)
        world.claim(second, Step.SETTLE)
        return first, "it is"

    monkeypatch.setattr(summarise, "_choose", choose)
    summarise.summarise(world.context, experiment)
    assert world.store.runs.get(second).state is RunState.SETTLING


def test_a_held_run_whose_merge_was_committed_ends_as_merged(world: Any) -> None:
    run_id, _ = world.batch()
    world.settle(run_id, Ending.held("not merged, the target does not answer"))
    world.commit_merge(run_id)
    assert decide.discard(world.context, run_id).state is RunState.MERGED


def test_a_held_run_that_expires_is_closed_in_the_target_first(world: Any) -> None:
    run_id, _ = world.batch()
    fork = world.fork(run_id)
    world.settle(run_id, Ending.held("waits"))
    world.store.environments.keep(fork.id, reason="held")
    world.change("UPDATE environments SET expires_at = now() - interval '1 minute'")
    list(expire.run_once(world.context, False))
    assert world.store.runs.get(run_id).state is RunState.DISCARDED
    assert outcome_in_target(world, run_id) == "closed"


def test_a_held_run_without_a_fork_waits_no_longer_than_its_time_to_live(world: Any) -> None:
    run_id, _ = world.batch()
    fork = world.fork(run_id)
    world.settle(run_id, Ending.held("its merge was refused"))
    world.store.environments.take_for_release(fork.id, reason="it was a candidate")
    world.provider.destroy(fork.name)
    world.store.environments.released(fork.id)
    world.change("UPDATE environments SET expires_at = now() - interval '1 minute'")
    list(expire.run_once(world.context, False))
    assert world.store.runs.get(run_id).state is RunState.HELD
    world.change("UPDATE events SET at = at - interval '2 hours'")
    list(expire.run_once(world.context, False))
    assert world.store.runs.get(run_id).state is RunState.DISCARDED


def test_a_cancel_after_a_merge_was_begun_closes_the_run_in_the_target(world: Any) -> None:
    run_id, _ = world.batch(promote="all")
    world.walk_to(run_id, Step.SETTLE)  # its worker merges, and is cut off from the registry
    world.commit_merge(run_id)
    world.store.runs.request_cancel(run_id)
    world.change("UPDATE runs SET lease_until = now() - interval '1 s' WHERE id = %s", run_id)
    perform(world.context, STAGES[Step.SETTLE], run_id)
    assert world.store.runs.get(run_id).state is RunState.MERGED


def test_a_merge_stands_whatever_the_release_of_its_fork_runs_into(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id, _ = world.batch()
    world.fork(run_id)
    world.walk_to(run_id, Step.SETTLE)
    world.change("UPDATE runs SET lease_until = now() - interval '1 s' WHERE id = %s", run_id)

    def release(*_: object, **__: object) -> bool:
        raise OSError("no file descriptor is left")

    monkeypatch.setattr(settle, "release", release)
    monkeypatch.setattr(settle, "_verdict", lambda *_: Ending.merged("it is in the target"))
    perform(world.context, STAGES[Step.SETTLE], run_id)
    assert world.store.runs.get(run_id).state is RunState.MERGED


def test_a_run_that_came_back_is_not_given_up(world: Any) -> None:
    run_id, _ = world.batch()
    world.walk_to(run_id, Step.CAPTURE)
    world.change("UPDATE runs SET lease_until = now() - interval '1 s', step_tries = 4 WHERE id = %s", run_id)
    (seen,) = world.store.runs.overdue(limit=10)
    world.claim(run_id, Step.CAPTURE, owner="another:1:1")
    rescue.rescue(world.context, seen)
    assert world.store.runs.get(run_id).state is RunState.CAPTURING


def test_a_run_of_a_target_without_markers_can_be_discarded(world: Any) -> None:
    run_id, _ = world.batch()
    world.settle(run_id, Ending.held("not merged"))
    with psycopg.connect(world.target) as connection:
        connection.execute("DROP SCHEMA forkyard CASCADE")
    assert decide.discard(world.context, run_id).state is RunState.DISCARDED


def test_a_promotion_that_is_recorded_is_no_error_where_the_broker_is_away(world: Any) -> None:
    run_id, _ = world.batch()
    world.settle(run_id, Ending.held("waits"))
    world.dispatcher.away = True
    decide.promote(world.context, run_id)
    assert world.store.runs.get(run_id).state is RunState.SETTLING


def test_a_second_summary_keeps_to_the_first_choice(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = world.batch()
    world.settle(first, Ending.candidate())
    world.settle(second, Ending.candidate())
    experiment = world.store.runs.get(first).experiment_id
    row = world.store.experiments.claim_summary(experiment)
    assert row is not None
    assert world.store.experiments.choose(experiment, best_run=first, summary="the earlier summary's")

    class Choice:
        run_id, reason = second, "the later summary's"

    monkeypatch.setattr(summarise, "best", lambda *_: Choice)
    monkeypatch.setattr(summarise, "results_of", lambda *_, **__: [])
    assert summarise._choose(world.context, row, [])[0] == first
