"""Workers die: a pool process in the middle of an agent, pool processes at random steps, whole workers, beat."""

from __future__ import annotations

import os
import signal

from orchestrator.runs import RunState
from tests.chaos.arena import Arena, owner_pid


def test_nothing_dies_and_every_run_is_merged_once(arena: Arena) -> None:
    batch = arena.submit("calm")
    assert arena.check(batch) == {"merged": 8}


def test_an_agent_whose_worker_process_is_killed_starts_once_more_on_a_fresh_fork(arena: Arena) -> None:
    batch = arena.submit("agents-die")
    victims = arena.in_step(batch, RunState.RUNNING, count=2)[:2]
    for run in victims:
        os.kill(owner_pid(run), signal.SIGKILL)
    assert arena.check(batch) == {"merged": 8}
    starts = {run.id: run.agent_starts for run in arena.runs(batch)}
    assert {starts[run.id] for run in victims} == {2}
    assert sum(starts.values()) == 10
