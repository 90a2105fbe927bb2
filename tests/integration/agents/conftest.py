from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import command
from orchestrator.agents.base import AgentOutcome, AgentRequest
from orchestrator.agents.environment import agent_environment
from orchestrator.agents.process import run_process
from orchestrator.secrets import redact

DAEMON = """
import os, sys, time
# A daemon by the book, which also forgets its variables: nothing but its ancestry tells whose it is.
def daemon(pid_file, hold_output=False):
    if os.fork():
        os.wait()
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    code = f"import os,time; open({pid_file!r}+'.part','w').write(str(os.getpid())); " \\
           f"os.rename({pid_file!r}+'.part', {pid_file!r}); time.sleep(300)"
    if not hold_output:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", code], {})
def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "agent.log"


@pytest.fixture
def run_id() -> Iterator[str]:
    """A run's id; at the end of the test no process that was started with it may be left."""
    made = f"test/{uuid.uuid4().hex}#1"
    yield made
    assert marked(made) == []


@pytest.fixture
def request_for(workspace: Path, log: Path, run_id: str) -> Callable[..., AgentRequest]:
    """A request for `python -c source` (or another `argv`), with limits that a test can change."""

    def make(source: str = "", **changes: Any) -> AgentRequest:
        environment = agent_environment(
            run_id=run_id,
            database_url="postgresql://u:p@h/d",
            task="",
            parameters={},
            seed=1,
            workspace=workspace,
            migrations_dir=workspace / "migrations",
            result_path=workspace / "result.json",
            worker=os.environ,
        )
        arguments: dict[str, Any] = {
            "run_id": run_id,
            "argv": command.argv(["python", "-c", DAEMON + source], workspace=workspace, path=environment["PATH"]),
            "environment": environment,
            "workspace": workspace,
            "log_path": log,
            "timeout_seconds": 60,
            "log_limit_bytes": 100_000,
            "workspace_limit_bytes": 20_000_000,
        }
        return AgentRequest(**(arguments | changes))

    return make


@pytest.fixture
def run(request_for: Callable[..., AgentRequest]) -> Callable[..., AgentOutcome]:
    def call(
        source: str,
        *,
        cancelled: Callable[[], bool] = lambda: False,
        on_start: Callable[[int], None] = lambda _: None,
        **changes: Any,
    ) -> AgentOutcome:
        return run_process(request_for(source, **changes), cancelled=cancelled, on_start=on_start, redact=redact)

    return call


def marked(run_id: str) -> list[int]:
    """The processes that were started with a run's id."""
    needle = f"FORKYARD_RUN_ID={run_id}\0".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                content = (entry / "environ").read_bytes()
            except OSError:
                continue
            if needle in content:
                found.append(int(entry.name))
    return found


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    def look(pid: int) -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state not in "ZX"

    return look


@pytest.fixture
def until() -> Callable[..., bool]:
    """Wait for a condition; False where it does not come true in time."""

    def wait(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    return wait
