"""Which process is which: a process id means something only together with its start time and the boot."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.devstack.launch import boot_id, stat_fields

_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """One process, never mistaken for a later one that got the same number. `started` is in clock ticks."""

    pid: int
    started: int
    boot: str


def process_id(pid: int) -> ProcessId | None:
    """The identity of a process that runs now; None where there is none."""
    try:
        return ProcessId(pid=pid, started=int(stat_fields(pid)[19]), boot=boot_id())
    except (OSError, IndexError):
        return None


def is_running(process: ProcessId) -> bool:
    """Whether exactly this process is alive; one that has ended but was not yet waited for is not."""
    try:
        fields = stat_fields(process.pid)
        state, parent, started = fields[0], int(fields[1]), int(fields[19])
    except (OSError, IndexError):
        return False
    if started != process.started or process.boot != boot_id():
        return False
    if state == "Z" and parent == os.getpid():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
    return state not in ("Z", "X")


def uptime_seconds(process: ProcessId) -> float:
    since_boot = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return max(0.0, since_boot - process.started / os.sysconf("SC_CLK_TCK"))


def send(process: ProcessId, number: signal.Signals) -> None:
    """Signal exactly this process, if it still runs."""
    if is_running(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def session_of(leader: ProcessId) -> list[ProcessId]:
    """What lives in the session that `leader` opened; nothing once its number belongs to somebody else."""
    present = process_id(leader.pid)
    if leader.boot != boot_id() or (present is not None and present != leader):
        return []
    return [
        member for member, fields in _processes() if int(fields[3]) == leader.pid and member.started >= leader.started
    ]


def working_in(folder: Path, programs: frozenset[str]) -> list[ProcessId]:
    """The running `programs` whose current folder is `folder`: a server enters its own data folder and stays."""
    found = []
    for process, _ in _processes():
        try:
            program = Path(f"/proc/{process.pid}/exe").readlink().name.removesuffix(" (deleted)")
            if program in programs and Path(f"/proc/{process.pid}/cwd").readlink() == folder:
                found.append(process)
        except OSError:
            continue
    return found


def wait_until(condition: Callable[[], bool], timeout_seconds: float) -> bool:
    """Poll until the condition holds; False if it does not within the time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _processes() -> Iterator[tuple[ProcessId, list[str]]]:
    boot = boot_id()
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit():
            continue
        try:
            fields = stat_fields(int(name))
            if fields[0] not in ("Z", "X"):
                yield ProcessId(pid=int(name), started=int(fields[19]), boot=boot), fields
        except (OSError, IndexError):
            continue
