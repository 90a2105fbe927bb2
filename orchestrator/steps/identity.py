"""Who works: a name for this process that tells, on the same host, whether it still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def host_name() -> str:
    return socket.gethostname()


def owner_name() -> str:
    """`host:pid:start`, where start is the process's start time, so that a reused pid is told apart."""
    return f"{host_name()}:{os.getpid()}:{_start_time(os.getpid()) or 0}"


def is_dead(owner: str) -> bool:
    """True only if the owner ran on this host and its process is gone; an unknown owner counts as alive."""
    host, pid, start = [*owner.rsplit(":", 2), "", ""][:3]
    if host != host_name() or not pid.isdigit():
        return False
    return str(_start_time(int(pid)) or "gone") != start


def _start_time(pid: int) -> int | None:
    """The 22nd field of /proc/<pid>/stat (proc_pid_stat(5)), or None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])
