from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.agents.base import AgentRequest
from orchestrator.agents.process import end_leftovers

IsAlive = Callable[[int], bool]
Until = Callable[..., bool]

WORKER = """
import json, os, sys
from pathlib import Path
from orchestrator.agents.base import AgentRequest
from orchestrator.agents.process import run_process
given = json.loads(sys.argv[1])
for name in ("workspace", "log_path"):
    given[name] = Path(given[name])
given["argv"] = tuple(given["argv"])
def on_start(pgid):
    (given["workspace"] / "supervisor").write_text(str(pgid))
run_process(AgentRequest(**given), cancelled=lambda: False, on_start=on_start, redact=str)
"""


@pytest.fixture
def worker(request_for: Callable[..., AgentRequest]) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start a worker process of its own that runs an agent of the given source."""
    started: list[subprocess.Popen[bytes]] = []

    def start(source: str) -> subprocess.Popen[bytes]:
        fields = dataclasses.asdict(request_for(source))
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, json.dumps(fields, default=str)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def stranger(**variables: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sleep", "300"], env=variables, start_new_session=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_worker_that_is_killed(
    worker: Callable[[str], subprocess.Popen[bytes]],
    workspace: Path,
    is_alive: IsAlive,
    until: Until,
    number: signal.Signals,
) -> None:
    process = worker(
        "import signal\nfor n in (1, 2, 3, 15): signal.signal(n, signal.SIG_IGN)\n"
        "daemon('pid'); wait_for('pid'); open('agent', 'w').write(str(os.getpid())); "
        "os.rename('agent', 'ready'); time.sleep(300)"
    )
    assert until((workspace / "ready").exists)
    pids = [int((workspace / name).read_text()) for name in ("supervisor", "ready", "pid")]
    assert all(map(is_alive, pids))
    process.send_signal(number)
    assert until(lambda: not any(map(is_alive, pids)))


def test_leftovers_of_a_killed_worker_and_supervisor_are_ended(
    worker: Callable[[str], subprocess.Popen[bytes]], workspace: Path, run_id: str, is_alive: IsAlive, until: Until
) -> None:
    process = worker(
        "if os.fork() == 0:\n    os.setsid(); open('child', 'w').write(str(os.getpid())); os.rename('child', 'ready')\n"
        "time.sleep(300)"
    )
    assert until((workspace / "ready").exists)
    supervisor, child = (int((workspace / name).read_text()) for name in ("supervisor", "ready"))
    os.kill(process.pid, signal.SIGSTOP)
    os.kill(supervisor, signal.SIGKILL)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert is_alive(child)
    assert end_leftovers(run_id, supervisor, workspace=workspace) == 1
    assert not is_alive(child)
    assert end_leftovers(run_id, supervisor, workspace=workspace) == 0


def test_a_process_that_cleared_its_variables_is_known_by_its_session(run_id: str, is_alive: IsAlive) -> None:
    leader = subprocess.Popen(
        ["/bin/sh", "-c", "env -i sleep 300 & echo $!; exec sleep 300"],
        env={"FORKYARD_RUN_ID": run_id},
        start_new_session=True,
        stdout=subprocess.PIPE,
    )
    assert leader.stdout is not None
    hidden = int(leader.stdout.readline())
    assert end_leftovers(run_id, leader.pid) >= 2
    leader.wait()
    leader.stdout.close()
    assert not is_alive(hidden)


def test_nobody_elses_process_is_ended(run_id: str, workspace: Path) -> None:
    strangers = [
        stranger(),
        stranger(FORKYARD_RUN_ID=run_id + "0"),
        stranger(NOTE=f"FORKYARD_RUN_ID={run_id}"),
        stranger(FORKYARD_RUN_ID=run_id, FORKYARD_RESULT="/another/installation/result.json"),
        stranger(FORKYARD_RUN_ID=run_id, FORKYARD_RESULT=f"{workspace}-2/result.json"),
    ]
    ours = stranger(FORKYARD_RUN_ID=run_id, FORKYARD_RESULT=f"{workspace}/result.json")
    try:
        for process in strangers:
            end_leftovers(run_id, process.pid, workspace=workspace)
        assert [process.poll() for process in strangers] == [None] * 5
        assert ours.wait(10) == -signal.SIGKILL
    finally:
        for process in [*strangers, ours]:
            process.kill()
            process.wait()


def test_a_worker_that_is_itself_inside_of_the_run_is_spared(run_id: str) -> None:
    source = f"from orchestrator.agents.process import end_leftovers; print(end_leftovers({run_id!r}, None))"
    done = subprocess.run(
        [sys.executable, "-c", source],
        env={"FORKYARD_RUN_ID": run_id, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "0\n")
