"""Processes seen through /proc: whose they are, and how to end what a dead worker left behind."""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from orchestrator.agents.launch import descendants
from orchestrator.errors import AgentError

_PROC = Path("/proc")
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Process:
    """One process at one moment. Its start time tells it from a later process of the same number."""

    pid: int
    started: int
    session: int
    zombie: bool


def end_leftovers(run_id: str, pgid: int | None, *, workspace: Path | None = None) -> int:
    """Kill what is left of a run's agent on this host; the number of processes ended. May run twice.

    A process is the run's when it was started with `FORKYARD_RUN_ID` = `run_id` (and, where `workspace` is given,
    with its `FORKYARD_RESULT` in there: run ids alone are not unique across installations), when it descends from
    such a process, or when it shares the session `pgid` (the supervisor's number) with one. Everything else is
    left alone, whatever number it has, and so are the caller and its parents.

    Raises AgentError when a process is still there after ten seconds of killing.
    """
    ended: set[_Process] = set()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while ours := _processes_of(run_id, pgid, workspace):
        if time.monotonic() > deadline:
            numbers = ", ".join(str(process.pid) for process in sorted(ours, key=lambda process: process.pid))
            raise AgentError(f"Processes of the run {run_id!r} cannot be killed: {numbers}.", run=run_id)
        _kill(ours)
        ended |= ours
    return len(ended)


def count(supervisor: int) -> int:
    """How many processes the agent under a supervisor has at this moment."""
    return len(descendants(supervisor))


def _processes_of(run_id: str, pgid: int | None, workspace: Path | None) -> set[_Process]:
    alive = {process.pid: process for process in _all() if not process.zombie}
    marked = {pid for pid in alive if _is_marked(pid, run_id, workspace)}
    if any(alive[pid].session == pgid for pid in marked):
        marked |= {pid for pid, process in alive.items() if process.session == pgid}
    found = marked.union(*(descendants(pid) for pid in marked))
    return {alive[pid] for pid in found - _self_and_parents() if pid in alive}


def _is_marked(pid: int, run_id: str, workspace: Path | None) -> bool:
    try:
        entries = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    if b"FORKYARD_RUN_ID=" + os.fsencode(run_id) not in entries:
        return False
    prefix = b"FORKYARD_RESULT=" + os.fsencode(workspace) + b"/" if workspace else b""
    return any(entry.startswith(prefix) for entry in entries)


def _all() -> list[_Process]:
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()] if _PROC.is_dir() else []
    return [process for process in map(_look, pids) if process is not None]


def _look(pid: int) -> _Process | None:
    try:
        fields = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name, in parentheses, may hold anything; the state follows it as field 3 of the manual's table.
    state, *numbers = fields[fields.rindex(b")") + 2 :].split()
    return _Process(pid=pid, started=int(numbers[18]), session=int(numbers[2]), zombie=state in b"ZX")


def _parent(pid: int) -> int:
    fields = (_PROC / str(pid) / "stat").read_bytes()
    return int(fields[fields.rindex(b")") + 2 :].split()[1])


def _self_and_parents() -> set[int]:
    found = {0, 1}
    pid = os.getpid()
    while pid not in found:
        found.add(pid)
        try:
            pid = _parent(pid)
        except OSError:
            break
    return found


def _kill(processes: set[_Process]) -> None:
    """SIGKILL to each, by handle, so that a number given to somebody else meanwhile is not hit; wait a moment."""
    handles: list[int] = []
    poll = select.poll()
    try:
        for process in processes:
            try:
                handle = os.pidfd_open(process.pid)
            except OSError:
                continue
            handles.append(handle)
            if _look(process.pid) == process:
                try:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    continue
                poll.register(handle, select.POLLIN)
        poll.poll(100)
    finally:
        for handle in handles:
            os.close(handle)
