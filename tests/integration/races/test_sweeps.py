"""Sweeps beside live runs: what they read may be old, and one thing that fails must not shelter the rest."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import AgentError, ForeignResource, ProviderUnavailable
from orchestrator.maintenance import expire, orphans, pool, rescue
from orchestrator.runs import EnvironmentState, Step


def expire_all(world: Any) -> None:
    world.change("UPDATE environments SET expires_at = now() - interval '1 minute'")


def overdue(world: Any, run_id: str) -> None:
    world.change("UPDATE runs SET lease_until = now() - interval '1 s' WHERE id = %s", run_id)


def test_a_fork_with_a_foreign_stamp_does_not_keep_the_others_for_ever(world: Any) -> None:
    first, second = world.fork(purpose="pool"), world.fork(purpose="pool")
    expire_all(world)
    world.provider.fail_next("destroy", ForeignResource("not ours"))
    list(expire.run_once(world.context, False))
    states = world.store.environments.by_name([first.name, second.name])
    assert states[second.name].state is EnvironmentState.RELEASED
    assert states[first.name].state is EnvironmentState.RELEASING


def test_a_host_that_does_not_answer_does_not_hide_the_orphans_of_the_next(world: Any) -> None:
    world.change(
        "INSERT INTO projects (name, provider, target_conninfo, host_conninfo)"
        " VALUES ('a-dead-one', 'fake', 'dbname=x', 'host=gone.invalid')"
    )
    orphan = world.fork(purpose="pool")
    world.store.environments.take_for_release(orphan.id, reason="test")
    world.store.environments.released(orphan.id)
    world.provider.fail_next("list", ProviderUnavailable("no answer"))
    found = {finding.name: finding.action for finding in orphans.run_once(world.context, False)}
    assert found == {"a-dead-one": "left", orphan.name: "deleted"}


def test_a_fork_that_a_listing_missed_is_not_lost(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id, _ = world.batch()
    fork = world.fork(run_id)
    monkeypatch.setattr(type(world.provider), "list", lambda _: ())
    assert list(orphans.run_once(world.context, False)) == []
    assert world.store.environments.current(run_id).id == fork.id


def test_a_fork_that_is_gone_is_lost(world: Any) -> None:
    run_id, _ = world.batch()
    fork = world.fork(run_id)
    world.provider.destroy(fork.name)
    list(orphans.run_once(world.context, False))
    assert world.store.environments.current(run_id) is None


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs whose agents a rescue ended."""
    runs: list[str] = []
    monkeypatch.setattr(rescue, "end_leftovers", lambda run_id, *_, **__: runs.append(run_id))
    return runs


def test_a_run_that_came_back_keeps_its_agent(world: Any, ended: list[str]) -> None:
    run_id, _ = world.batch()
    claim = world.walk_to(run_id, Step.RUN_AGENT)
    world.store.runs.record_process(claim, 4242)
    world.change("UPDATE runs SET host = 'here'")
    overdue(world, run_id)
    (seen,) = world.store.runs.overdue(limit=10)
    world.store.runs.heartbeat(claim, lease_seconds=60)
    assert rescue.rescue(world.context, seen) == "left: it came back"
    assert ended == []


def test_the_agent_of_a_dead_worker_is_ended(world: Any, ended: list[str]) -> None:
    run_id, _ = world.batch()
    world.store.runs.record_process(world.walk_to(run_id, Step.RUN_AGENT), 4242)
    world.change("UPDATE runs SET host = 'here', continuation = NULL")
    overdue(world, run_id)
    assert rescue.rescue(world.context, world.store.runs.get(run_id)) == "sent on"
    assert ended == [run_id]


def test_a_run_that_cannot_be_rescued_does_not_keep_the_others(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, other = world.batch()
    for run_id in (stuck, other):
        world.store.runs.record_process(world.walk_to(run_id, Step.RUN_AGENT), 4242)
    world.change("UPDATE runs SET host = 'here', continuation = NULL, lease_until = now() - interval '1 s'")

    def end(run_id: str, *_: object, **__: object) -> None:
        if run_id == stuck:
            raise AgentError("its processes cannot be killed")

    monkeypatch.setattr(rescue, "end_leftovers", end)
    actions = {finding.name: finding.action for finding in rescue.run_once(world.context, False)}
    assert actions[other] == "sent on"
    assert actions[stuck].startswith("left: ")


def test_a_host_that_is_down_keeps_no_other_pool_empty(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.change("UPDATE projects SET pool_size = 1")
    (row,) = world.store.environments.pool_sizes()
    monkeypatch.setattr(
        type(world.store.environments), "pool_sizes", lambda _: [{**row, "project": "down", "pool_size": 2}, row]
    )
    answers = iter([ProviderUnavailable("no answer"), world.fork(purpose="pool")])

    def provide(*_: object) -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(pool, "provide_for_pool", provide)
    assert [finding.action for finding in pool.run_once(world.context, False)] == ["failed", "made"]
