"""Workers die or hang: pool processes, whole workers, beat; or there are two of each."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from orchestrator.runs import RunState
from tests.chaos.arena import Arena, owner_pid
from tests.chaos.invariants import agents_of, check


def test_an_agent_whose_worker_process_is_killed_starts_once_more_on_a_fresh_fork(arena: Arena) -> None:
    batch = arena.submit("agents-die", repeats=2)
    victims = arena.in_step(batch, RunState.RUNNING, count=2)[:2]
    assert agents_of(batch, arena.installation.folder)
    for run in victims:
        os.kill(owner_pid(run), signal.SIGKILL)
    assert check(arena, batch) == {"merged": 4}
    starts = {run.id: run.agent_starts for run in arena.runs(batch)}
    assert {starts[run.id] for run in victims} == {2}
    assert sum(starts.values()) == 6


def test_steps_whose_worker_processes_are_killed_at_random_are_done_again(arena: Arena) -> None:
    batch = arena.submit("steps-die", promote="best", nap=0.3)
    arena.in_step(batch, RunState.PROVISIONING)
    killed = arena.kill_children("worker-steps", times=8, pause=(0.1, 0.6))
    assert killed >= 4
    ends = check(arena, batch)
    assert ends["merged"] <= 1
    assert sum(ends.values()) == 8


def test_whole_workers_that_vanish_and_come_back_lose_nothing(arena: Arena) -> None:
    batch = arena.submit("workers-vanish", promote="best", repeats=3)
    arena.in_step(batch, RunState.RUNNING, count=2)
    arena.kill_group("worker-agents")
    arena.bring_back(batch)
    arena.in_step(batch, RunState.CAPTURING)
    arena.kill_group("worker-steps", "worker-gc")
    arena.bring_back(batch)
    assert check(arena, batch) == {"merged": 1, "discarded": 5}


def test_worker_processes_that_hang_past_their_lease_and_wake_again_can_write_nothing(arena: Arena) -> None:
    batch = arena.submit("zombies", repeats=2)
    hung = [owner_pid(run) for run in arena.in_step(batch, RunState.RUNNING, count=2)[:2]]
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    try:
        hung += [owner_pid(run) for run in arena.in_step(batch, RunState.CAPTURING)[:1]]
        os.kill(hung[-1], signal.SIGSTOP)
        taken_over = "SELECT 1 FROM step_attempts WHERE outcome = 'lost' AND run_id LIKE 'zombies/%%'"
        arena.wait(lambda: len(arena.registry(taken_over)) >= 3, 30, "three runs to be taken over", batch)
    finally:
        for pid in hung:
            os.kill(pid, signal.SIGCONT)
    assert check(arena, batch) == {"merged": 4}


def test_a_second_worker_and_a_second_beat_do_no_harm_nor_does_the_death_of_every_beat(arena: Arena) -> None:
    schedule = str(arena.installation.folder / "second-schedule")
    worker = arena.start("worker-second", "worker", "-Q", "agents,steps,gc", "-n", "second@%h", "-c", "2", "-l", "INFO")
    arena.start("beat-second", "beat", "-s", schedule, "--pidfile=")
    try:
        batch = arena.submit("seconds", repeats=2)
        arena.in_step(batch, RunState.CAPTURING)
        arena.kill("beat", "beat-second")
        assert check(arena, batch) == {"merged": 4}
    finally:
        arena.stop("beat-second", "worker-second")
    assert not Path(f"/proc/{worker}").exists()
    # What beat alone can repair waits for the next one.
    (last,) = arena.registry("SELECT max(id) FROM sweeps")
    arena.bring_back(batch)
    arena.wait(lambda: arena.registry("SELECT max(id) FROM sweeps") > [last], 20, "sweeps to go on", batch)
