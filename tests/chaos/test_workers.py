"""Workers die or hang: pool processes, whole workers, beat; or there are two of each."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from orchestrator.runs import RunState
from tests.chaos.arena import Arena, owner_pid


def test_where_nothing_dies_every_run_is_merged_once(arena: Arena) -> None:
    batch = arena.submit("calm")
    assert arena.check(batch) == {"merged": 8}
    assert {run.agent_starts for run in arena.runs(batch)} == {1}


def test_an_agent_whose_worker_process_is_killed_starts_once_more_on_a_fresh_fork(arena: Arena) -> None:
    batch = arena.submit("agents-die")
    victims = arena.in_step(batch, RunState.RUNNING, count=2)[:2]
    for run in victims:
        os.kill(owner_pid(run), signal.SIGKILL)
    assert arena.check(batch) == {"merged": 8}
    starts = {run.id: run.agent_starts for run in arena.runs(batch)}
    assert {starts[run.id] for run in victims} == {2}
    assert sum(starts.values()) == 10


def test_steps_whose_worker_processes_are_killed_at_random_are_done_again(arena: Arena) -> None:
    batch = arena.submit("steps-die", promote="best", nap=0.3)
    arena.in_step(batch, RunState.PROVISIONING)
    killed = arena.kill_children("worker-steps", times=8, pause=(0.1, 0.8))
    assert killed >= 4
    ends = arena.check(batch)
    assert ends["merged"] <= 1
    assert sum(ends.values()) == 8


def test_a_whole_agents_worker_that_vanishes_and_comes_back_loses_nothing(arena: Arena) -> None:
    batch = arena.submit("agents-vanish", promote="best")
    arena.in_step(batch, RunState.RUNNING, count=2)
    arena.kill_group("worker-agents")
    arena.installation.start_workers()
    ends = arena.check(batch)
    assert ends == {"merged": 1, "discarded": 7}


def test_a_whole_steps_worker_that_vanishes_and_comes_back_loses_nothing(arena: Arena) -> None:
    batch = arena.submit("steps-vanish", nap=0.3)
    arena.in_step(batch, RunState.CAPTURING)
    arena.kill_group("worker-steps")
    arena.kill_group("worker-gc")
    arena.installation.start_workers()
    assert arena.check(batch) == {"merged": 8}


def test_worker_processes_that_hang_past_their_lease_and_wake_again_can_write_nothing(arena: Arena) -> None:
    batch = arena.submit("zombies")
    hung = [owner_pid(run) for run in arena.in_step(batch, RunState.RUNNING, count=2)[:2]]
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    hung += [owner_pid(run) for run in arena.in_step(batch, RunState.CAPTURING)[:1]]
    os.kill(hung[-1], signal.SIGSTOP)
    try:
        taken_over = "SELECT 1 FROM step_attempts WHERE outcome = 'lost' AND run_id LIKE 'zombies/%%'"
        arena.wait(lambda: len(arena.registry(taken_over)) >= 3, 20, "three runs to be taken over", batch)
    finally:
        for pid in hung:
            os.kill(pid, signal.SIGCONT)
    assert arena.check(batch) == {"merged": 8}


def test_a_second_worker_and_a_second_beat_do_no_harm_nor_does_the_death_of_every_beat(arena: Arena) -> None:
    folder = arena.installation.folder
    worker = arena.start("worker-second", "worker", "-Q", "agents,steps,gc", "-n", "second@%h", "-c", "2", "-l", "INFO")
    arena.start("beat-second", "beat", "-s", str(folder / "second-schedule"), "--pidfile=")
    try:
        batch = arena.submit("seconds")
        arena.in_step(batch, RunState.SETTLING)
        arena.kill("beat", "beat-second")
        assert arena.check(batch) == {"merged": 8}
        arena.installation.start_workers()
        swept = "SELECT 1 FROM sweeps WHERE name = 'rescue' AND started_at > now() - interval '2 seconds'"
        time.sleep(2)
        arena.wait(lambda: arena.registry(swept), 15, "sweeps to go on", batch)
    finally:
        arena.stop("beat-second", "worker-second")
    assert not Path(f"/proc/{worker}").exists()
