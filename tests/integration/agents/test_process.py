from __future__ import annotations

import json
import os
import signal
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.agents.base import AgentOutcome, AgentRequest
from orchestrator.agents.process import run_process
from orchestrator.errors import AgentError, AgentFailed

Run = Callable[..., AgentOutcome]
IsAlive = Callable[[int], bool]


def test_output_and_errors_come_in_order_and_the_exit_code_is_kept(run: Run, log: Path) -> None:
    outcome = run("os.write(1, b'one\\n'); os.write(2, b'two\\n'); os.write(1, b'three'); sys.exit(3)")
    assert (outcome.exit_code, outcome.ended_by, outcome.log_truncated) == (3, "exit", False)
    assert log.read_text() == "one\ntwo\nthree\n"
    assert outcome.log_bytes == log.stat().st_size
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert 0 < outcome.duration_seconds < 30


def test_an_agent_sees_its_variables_and_no_other(
    run: Run, workspace: Path, request_for: Callable[..., AgentRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORKYARD_SECRET_KEY", "the worker's own")
    environment = {**request_for().environment, "LANG": "C"}
    run("", argv=("/bin/sh", "-c", "tr '\\0' '\\n' < /proc/self/environ > environ"), environment=environment)
    seen = dict(line.partition("=")[::2] for line in (workspace / "environ").read_text().splitlines())
    assert seen == environment


def test_an_agent_inherits_neither_files_nor_input_nor_ignored_signals(run: Run, workspace: Path) -> None:
    inherited = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        run(
            "",
            argv=("/bin/sh", "-c", "ls /proc/self/fd > fds; grep -E 'Sig(Blk|Ign)' /proc/self/status > signals; cat"),
        )
    finally:
        os.close(inherited)
    assert set((workspace / "fds").read_text().split()) <= {"0", "1", "2", "3"}  # 3 is the listing's own
    # 32 and 33 are the C library's own: its posix_spawn, as make uses it, leaves them ignored; no program can set them.
    own = 1 << 31 | 1 << 32
    masks = [int(line.split()[1], 16) for line in (workspace / "signals").read_text().splitlines()]
    assert [mask & ~own for mask in masks] == [0, 0]


def test_passwords_do_not_reach_the_log(run: Run, log: Path) -> None:
    run("print(os.environ['DATABASE_URL'])")
    assert log.read_text() == "postgresql://u:***@h/d\n"


def test_an_agent_that_hangs_is_ended_at_its_timeout(run: Run) -> None:
    outcome = run("time.sleep(300)", timeout_seconds=0.5)
    assert outcome.ended_by == "timeout"
    assert outcome.exit_code == -signal.SIGTERM
    assert 0.5 <= outcome.duration_seconds < 10


def test_an_agent_may_say_goodbye(run: Run, log: Path) -> None:
    outcome = run(
        "import signal\n"
        "def bye(*_):\n    print('bye'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, bye)\n"
        "print('ready', flush=True); time.sleep(300)",
        timeout_seconds=3,
    )
    assert (outcome.ended_by, outcome.exit_code) == ("timeout", 0)
    assert log.read_text() == "ready\nbye\n"


def test_an_agent_that_ignores_sigterm_is_killed(run: Run) -> None:
    outcome = run(
        "import signal\nfor n in signal.valid_signals() - {9, 19}: signal.signal(n, signal.SIG_IGN)\ntime.sleep(300)",
        timeout_seconds=2,
    )
    assert (outcome.ended_by, outcome.exit_code) == ("timeout", -signal.SIGKILL)
    assert outcome.duration_seconds < 20


def test_a_cancel_ends_the_agent(run: Run, workspace: Path) -> None:
    outcome = run("open('started', 'w').close(); time.sleep(300)", cancelled=(workspace / "started").exists)
    assert outcome.ended_by == "cancel"
    assert outcome.exit_code == -signal.SIGTERM


def test_the_cancel_flag_is_asked_about_four_times_a_second(run: Run) -> None:
    asked: list[float] = []

    def look() -> bool:
        asked.append(time.monotonic())
        return False

    run("time.sleep(1.1)", cancelled=look)
    assert 2 <= len(asked) <= 6 + (asked[-1] - asked[0]) * 4


def test_an_agent_that_floods_its_log_goes_on(run: Run, log: Path) -> None:
    outcome = run("for _ in range(1600): os.write(1, (b'x' * 99 + b'\\n') * 655)\nprint('\\nlast line'); sys.exit(7)")
    assert (outcome.ended_by, outcome.exit_code, outcome.log_truncated) == ("exit", 7, True)
    assert outcome.log_bytes == log.stat().st_size < 101_000
    assert log.read_text().count("truncated") == 1
    assert log.read_text().endswith("last line\n")


def test_an_agent_that_floods_forever_is_ended_at_its_timeout(run: Run) -> None:
    outcome = run("while True: os.write(1, b'y\\n' * 30000)", timeout_seconds=1)
    assert outcome.ended_by == "timeout"
    assert outcome.duration_seconds < 10


def test_output_that_is_not_utf8_is_readable(run: Run, log: Path) -> None:
    assert run("os.write(1, b'\\xff\\xfe caf\\xc3\\xa9\\n')").exit_code == 0
    assert log.read_text(encoding="utf-8") == "\ufffd\ufffd café\n"


def test_an_agent_that_closes_its_output_goes_on(run: Run, workspace: Path) -> None:
    outcome = run("os.close(1); os.close(2); time.sleep(0.6); open('done', 'w').close(); os._exit(4)")
    assert (outcome.exit_code, outcome.ended_by) == (4, "exit")
    assert (workspace / "done").exists()


def test_a_daemon_does_not_outlive_its_agent(run: Run, workspace: Path, is_alive: IsAlive) -> None:
    outcome = run("daemon('pid'); wait_for('pid'); sys.exit(5)")
    assert (outcome.exit_code, outcome.ended_by) == (5, "exit")
    assert not is_alive(int((workspace / "pid").read_text()))


def test_a_daemon_that_holds_the_output_open_is_not_waited_for(run: Run, workspace: Path, is_alive: IsAlive) -> None:
    outcome = run("daemon('pid', hold_output=True); wait_for('pid')")
    assert outcome.ended_by == "exit"
    assert outcome.duration_seconds < 20
    assert not is_alive(int((workspace / "pid").read_text()))


def test_children_in_sessions_of_their_own_end_with_the_timeout(run: Run, workspace: Path, is_alive: IsAlive) -> None:
    outcome = run("for i in range(5): daemon(f'pid{i}')\ntime.sleep(300)", timeout_seconds=3)
    assert outcome.ended_by == "timeout"
    pids = [int(file.read_text()) for file in workspace.glob("pid?")]
    assert len(pids) == 5
    assert not any(map(is_alive, pids))


def test_an_agent_that_forks_many_children_is_ended(run: Run) -> None:
    outcome = run(
        "import signal; signal.signal(15, signal.SIG_IGN)\n"
        "for _ in range(60):\n    if os.fork() == 0:\n        os.setsid(); time.sleep(300)\n"
        "time.sleep(300)",
        process_limit=20,
    )
    assert outcome.ended_by == "processes"
    assert outcome.duration_seconds < 20


def test_an_agent_may_have_as_many_children_as_the_limit_says(run: Run) -> None:
    outcome = run(
        "pids = [os.fork() for _ in range(3)]\nif 0 not in pids: time.sleep(0.8)\nelse: time.sleep(300)",
        process_limit=8,
    )
    assert (outcome.ended_by, outcome.exit_code) == ("exit", 0)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("open('big', 'wb').write(b'x' * 30_000_000)", id="one file, and Python's own error"),
        pytest.param("import shutil; shutil.copyfileobj(open('/dev/zero', 'rb'), open('big', 'wb'))", id="endless"),
        pytest.param("for i in range(30): open(f'part{i}', 'wb').write(b'x' * 1_000_000)", id="many files"),
        pytest.param(
            "for i in range(30): open(f'part{i}', 'wb').write(b'x' * 1_000_000)\ntime.sleep(300)", id="many, then idle"
        ),
        pytest.param(
            "os.makedirs('a/b'); os.chdir('a/b')\nfor i in range(30): open(str(i), 'wb').write(b'x' * 10**6)",
            id="in folders",
        ),
    ],
)
def test_an_agent_that_writes_too_much_is_ended(run: Run, workspace: Path, source: str) -> None:
    outcome = run(source)
    assert outcome.ended_by == "workspace"
    assert outcome.duration_seconds < 30
    assert sum(file.stat().st_size for file in workspace.rglob("*") if file.is_file()) < 40_000_000


def test_a_program_that_dies_of_the_file_limit_is_over_its_workspace(run: Run) -> None:
    outcome = run("", argv=("/bin/sh", "-c", "exec dd if=/dev/zero of=big bs=1000000 count=100"))
    assert outcome.ended_by == "workspace"


@pytest.mark.parametrize(
    ("content", "mode", "sentence"),
    [
        (None, 0o700, "does not exist"),
        (b"#!/no/such/interpreter\n", 0o700, "does not exist"),
        (b"#!/bin/sh\n", 0o600, "is not executable"),
        (b"\x00\x01\x02", 0o700, "neither a program nor a script"),
    ],
)
def test_a_program_that_cannot_start_is_told_in_one_sentence(
    run: Run, workspace: Path, content: bytes | None, mode: int, sentence: str
) -> None:
    program = workspace / "program"
    if content is not None:
        program.write_bytes(content)
        program.chmod(mode)
    with pytest.raises(AgentFailed, match=sentence):
        run("", argv=(str(program),))


def test_arguments_that_no_program_can_get_are_told(run: Run) -> None:
    with pytest.raises(AgentFailed, match="too long"):
        run("", argv=("/bin/true", "x" * 10_000_000))
    with pytest.raises(AgentFailed, match="a character that none may"):
        run("", argv=("/bin/true", "a\0b"))


def test_a_missing_workspace_is_told(run: Run, tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="does not exist"):
        run("", workspace=tmp_path / "absent")


def test_the_supervisors_id_is_given_before_the_agent_ends(run: Run, workspace: Path) -> None:
    given: list[int] = []

    def on_start(pgid: int) -> None:
        assert os.getpgid(pgid) == os.getsid(pgid) == pgid
        given.append(pgid)
        (workspace / "go").touch()

    run("wait_for('go'); open('parent', 'w').write(str(os.getppid()))", on_start=on_start)
    assert given == [int((workspace / "parent").read_text())]


def test_an_error_of_the_caller_ends_the_agent(run: Run, workspace: Path, is_alive: IsAlive) -> None:
    def fail() -> bool:
        if (workspace / "pid").exists():
            raise ConnectionError("the registry is gone")
        return False

    with pytest.raises(ConnectionError):
        run("daemon('pid'); time.sleep(300)", cancelled=fail)
    assert not is_alive(int((workspace / "pid").read_text()))


def test_an_error_at_the_start_ends_the_agent(run: Run) -> None:
    pids: list[int] = []

    def fail(pgid: int) -> None:
        pids.append(pgid)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("time.sleep(300)", on_start=fail)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


@pytest.mark.parametrize(
    ("number", "ended"),
    [
        (signal.SIGKILL, ("interrupted", -signal.SIGKILL)),
        (signal.SIGSTOP, ("timeout", -signal.SIGTERM)),
        (signal.SIGQUIT, ("exit", -signal.SIGKILL)),
    ],
)
def test_an_agent_that_attacks_its_supervisor_gains_nothing(
    run: Run, number: signal.Signals, ended: tuple[str, int]
) -> None:
    started = time.monotonic()
    outcome = run(
        f"if os.fork() == 0:\n    os.setsid(); time.sleep(300)\nos.kill(os.getppid(), {int(number)}); time.sleep(300)",
        timeout_seconds=1,
    )
    assert (outcome.ended_by, outcome.exit_code) == ended
    assert time.monotonic() - started < 30


def test_an_agent_in_its_supervisors_group_is_killed_as_well(run: Run) -> None:
    outcome = run("os.setpgid(0, os.getppid()); time.sleep(300)", timeout_seconds=1)
    assert outcome.ended_by == "timeout"


def test_agents_in_threads_do_not_disturb_each_other(request_for: Callable[..., AgentRequest], tmp_path: Path) -> None:
    codes: dict[int, int] = {}

    def one(number: int) -> None:
        request = request_for(f"print({number}); sys.exit({number})", log_path=tmp_path / f"{number}.log")
        codes[number] = run_process(request, cancelled=lambda: False, on_start=lambda _: None, redact=str).exit_code

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == {number: number for number in range(6)}
    assert [(tmp_path / f"{number}.log").read_text() for number in range(6)] == [f"{n}\n" for n in range(6)]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_file_stays_open(run: Run) -> None:
    before = open_files()
    run("print(1)")
    run("time.sleep(300)", timeout_seconds=0.2)
    assert open_files() == before


def test_an_agent_dumps_no_core_and_dies_first_where_memory_runs_out(run: Run, log: Path) -> None:
    run(
        "import resource, json\n"
        "print(json.dumps([resource.getrlimit(resource.RLIMIT_CORE), open('/proc/self/oom_score_adj').read().strip()]))"
    )
    assert json.loads(log.read_text()) == [[0, 0], "500"]
