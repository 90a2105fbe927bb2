from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.devstack import procfs


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process
        process.kill()


def identify(pid: int) -> procfs.ProcessId:
    found = procfs.process_id(pid)
    assert found is not None
    return found


def test_a_live_process_runs_and_has_an_uptime(sleeper: subprocess.Popen[bytes]) -> None:
    found = identify(sleeper.pid)
    assert procfs.is_running(found)
    assert 0 <= procfs.uptime_seconds(found) < 60


@pytest.mark.parametrize("change", [{"started": 1}, {"boot": "another"}])
def test_the_same_number_at_another_time_is_another_process(
    sleeper: subprocess.Popen[bytes], change: dict[str, object]
) -> None:
    other = replace(identify(sleeper.pid), **change)
    assert not procfs.is_running(other)
    procfs.send(other, signal.SIGKILL)
    assert procfs.is_running(identify(sleeper.pid))


def test_a_process_that_ended_but_was_not_waited_for_does_not_run() -> None:
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    found = identify(pid)
    os.kill(pid, signal.SIGKILL)
    assert procfs.wait_until(lambda: not procfs.is_running(found), 10)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_no_process_has_no_identity() -> None:
    assert procfs.process_id(2**22 + 1) is None


def test_only_the_named_programs_that_work_in_the_folder_are_found(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"], cwd=tmp_path) as process:
        program = Path(f"/proc/{process.pid}/exe").readlink().name
        try:
            assert [each.pid for each in procfs.working_in(tmp_path, frozenset({program}))] == [process.pid]
            assert procfs.working_in(tmp_path, frozenset({"postgres"})) == []
            assert procfs.working_in(tmp_path.parent, frozenset({program})) == []
        finally:
            process.kill()


def test_a_session_is_found_after_its_leader_has_ended() -> None:
    script = "import subprocess as s; print(s.Popen(['/bin/sleep', '60'], stdout=s.DEVNULL).pid)"
    leader = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    identity = identify(leader.pid)
    out, _ = leader.communicate(timeout=30)
    left = procfs.session_of(identity)
    assert [each.pid for each in left] == [int(out)]
    assert procfs.session_of(replace(identity, started=left[0].started + 10_000)) == []
    procfs.send(left[0], signal.SIGKILL)
    assert procfs.wait_until(lambda: not procfs.is_running(left[0]), 10)
