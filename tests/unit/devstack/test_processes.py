from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.devstack import procfs
from orchestrator.devstack.processes import StopPlan, Supervisor
from orchestrator.devstack.status import ServiceState
from orchestrator.errors import StackError

SLEEP = ["/bin/sleep", "300"]
ENV = {"PATH": "/usr/bin:/bin"}
ROOT = Path(__file__).parents[3]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "processes", tmp_path / "logs")
    yield made
    made.stop()


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def wait_for_log(log: Path, text: str) -> None:
    assert procfs.wait_until(lambda: log.exists() and text in log.read_text(), 30), log.read_text()


def test_a_second_start_finds_the_first(supervisor: Supervisor, tmp_path: Path) -> None:
    first = supervisor.start("worker", SLEEP, env=ENV)
    again = Supervisor(tmp_path / "processes", tmp_path / "logs").start("worker", SLEEP, env=ENV)
    assert again == first
    assert [(each.name, each.state, each.pid) for each in supervisor.status()] == [
        ("worker", ServiceState.RUNNING, first.process.pid)
    ]


def test_a_stopped_process_is_gone_with_its_record(supervisor: Supervisor) -> None:
    record = supervisor.start("worker", SLEEP, env=ENV)
    assert supervisor.stop(["worker"]) == ("worker",)
    assert not record.runs
    assert supervisor.status() == ()
    assert supervisor.stop(["worker"]) == ()


def test_stop_ends_a_process_that_ignores_the_signal_and_all_its_children(supervisor: Supervisor) -> None:
    script = (
        "import signal, subprocess, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['/bin/sleep', '300'])\n"
        "print('child', child.pid, flush=True)\n"
        "time.sleep(300)\n"
    )
    stop = StopPlan(steps=((signal.SIGTERM, 0.1),))
    record = supervisor.start("stubborn", python(script), env=ENV, stop=stop)
    wait_for_log(record.log, "child")
    child = procfs.process_id(int(record.log.read_text().split()[1]))
    assert child is not None
    supervisor.stop()
    assert not record.runs
    assert not procfs.is_running(child)


def test_stop_asks_only_the_process_itself_to_end(supervisor: Supervisor) -> None:
    script = (
        "import signal, subprocess, sys\n"
        "loop = 'trap \"echo hit\" TERM; echo ready; while :; do sleep 0.05; done'\n"
        "def end(*_):\n"
        "    print('ended well', flush=True)\n"
        "    child.kill()\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "child = subprocess.Popen(['/bin/sh', '-c', loop])\n"
        "child.wait()\n"
    )
    record = supervisor.start("polite", python(script), env=ENV)
    wait_for_log(record.log, "ready")
    supervisor.stop()
    assert "ended well" in record.log.read_text()
    assert "hit" not in record.log.read_text()


def test_what_a_crash_left_in_the_session_is_ended_by_the_next_start(supervisor: Supervisor) -> None:
    script = "import subprocess as s, time; print(s.Popen(['/bin/sleep', '300']).pid, flush=True); time.sleep(300)"
    record = supervisor.start("worker", python(script), env=ENV)
    wait_for_log(record.log, "\n")
    child = procfs.process_id(int(record.log.read_text()))
    assert child is not None
    procfs.send(record.process, signal.SIGKILL)
    assert procfs.wait_until(lambda: not record.runs, 10)
    assert supervisor.status()[0].state is ServiceState.CRASHED
    assert procfs.is_running(child)
    second = supervisor.start("worker", SLEEP, env=ENV)
    assert second.process != record.process
    assert not procfs.is_running(child)


def test_a_number_that_now_belongs_to_somebody_else_is_left_alone(supervisor: Supervisor, tmp_path: Path) -> None:
    with subprocess.Popen(SLEEP, start_new_session=True) as stranger:
        record = supervisor.start("worker", SLEEP, env=ENV)
        supervisor.stop()
        path = tmp_path / "processes" / "worker.json"
        facts = {"pid": stranger.pid, "started": record.process.started - 1, "boot": record.process.boot}
        described = {"name": "worker", "log": "/x", "address": "", "bound": False, "stop": [["SIGTERM", 1]]}
        path.write_text(json.dumps({**described, **facts}))
        assert supervisor.status()[0].state is ServiceState.CRASHED
        supervisor.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_a_program_that_does_not_exist_is_one_sentence_and_leaves_no_record(supervisor: Supervisor) -> None:
    for bound in (False, True):
        with pytest.raises(StackError, match=r"^/no/such/program could not be started: No such file or directory"):
            supervisor.start("worker", ["/no/such/program"], env=ENV, bound_to_caller=bound)
    assert supervisor.records() == ()


@pytest.mark.parametrize("name", ["", "../x", "A", "a/b", "x" * 64, "-a"])
def test_a_name_that_is_no_file_name_is_refused(supervisor: Supervisor, name: str) -> None:
    with pytest.raises(StackError, match="cannot be the name of a process"):
        supervisor.start(name, SLEEP, env=ENV)


@pytest.mark.parametrize("text", ["garbage", "[]", "{}", '{"pid": "x"}'])
def test_a_damaged_record_says_what_to_do(supervisor: Supervisor, tmp_path: Path, text: str) -> None:
    (tmp_path / "processes").mkdir()
    record = tmp_path / "processes" / "worker.json"
    record.write_text(text)
    with pytest.raises(StackError, match=r"worker\.json.* damaged.*delete the file"):
        supervisor.status()
    record.unlink()


def test_the_environment_is_whole_and_seen_by_no_other_account(supervisor: Supervisor, tmp_path: Path) -> None:
    os.environ["FORKYARD_TEST_LEAK"] = "1"
    try:
        record = supervisor.start("worker", SLEEP, env={"PASSWORD": "s3cret"})
    finally:
        del os.environ["FORKYARD_TEST_LEAK"]
    assert Path(f"/proc/{record.process.pid}/environ").read_bytes() == b"PASSWORD=s3cret\0"
    assert b"s3cret" not in Path(f"/proc/{record.process.pid}/cmdline").read_bytes()
    path = tmp_path / "processes" / "worker.json"
    assert b"s3cret" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert record.log.stat().st_mode & 0o777 == 0o600


def test_the_process_starts_with_default_signals_own_session_and_no_open_files(supervisor: Supervisor) -> None:
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        record = supervisor.start("worker", SLEEP, env=ENV)
    finally:
        os.close(inherited)
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{record.process.pid}/status").read_text().splitlines())
    # 32 and 33 are the C library's own; a program cannot set them.
    assert int(status["SigIgn"].strip(), 16) & ~(0b11 << 31) == 0
    assert int(status["SigBlk"].strip(), 16) == 0
    assert os.getsid(record.process.pid) == record.process.pid
    assert sorted(each.name for each in Path(f"/proc/{record.process.pid}/fd").iterdir()) == ["0", "1", "2"]


def test_output_is_appended_to_the_log_and_a_long_log_is_set_aside(supervisor: Supervisor) -> None:
    record = supervisor.start("once", ["/bin/echo", "first"], env=ENV)
    wait_for_log(record.log, "first\n")
    supervisor.start("once", ["/bin/echo", "second"], env=ENV)
    wait_for_log(record.log, "first\nsecond\n")
    with record.log.open("ab") as log:
        log.truncate(11 * 1024 * 1024)
    supervisor.start("once", ["/bin/echo", "third"], env=ENV)
    assert procfs.wait_until(lambda: record.log.read_text() == "third\n", 30)
    assert record.log.with_name("once.log.1").stat().st_size == 11 * 1024 * 1024


@pytest.mark.parametrize("bound", [False, True])
def test_a_process_outlives_a_killed_caller_unless_it_is_bound_to_it(
    supervisor: Supervisor, tmp_path: Path, *, bound: bool
) -> None:
    script = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from orchestrator.devstack.processes import Supervisor\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "started = Supervisor(folder / 'processes', folder / 'logs').start(\n"
        f"    'worker', ['/bin/sleep', '300'], env={{}}, bound_to_caller={bound})\n"
        "print(started.process.pid, flush=True)\n"
        "time.sleep(300)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        record = supervisor.find("worker")
        assert record is not None
        assert (record.process.pid, record.bound, record.runs) == (pid, bound, True)
        caller.kill()
        caller.wait()
    if bound:
        assert procfs.wait_until(lambda: not record.runs, 10)
    else:
        assert record.runs
        assert supervisor.start("worker", SLEEP, env=ENV) == record


def test_a_lock_is_held_while_any_process_that_inherited_it_lives(supervisor: Supervisor, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    script = "import subprocess as s; s.Popen(['/bin/sleep', '300'], close_fds=False); print('left', flush=True)"
    record = supervisor.start("first", python(script), env=ENV, lock=lock)
    wait_for_log(record.log, "left")
    with pytest.raises(StackError, match="Resource temporarily unavailable"):
        supervisor.start("second", SLEEP, env=ENV, lock=lock)
    supervisor.stop()
    assert supervisor.start("second", SLEEP, env=ENV, lock=lock).runs
