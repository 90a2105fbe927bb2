"""How much processor time a group of processes has used."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time of these processes, of all below them, and of those below them that have ended."""
    parents = _parents()
    wanted = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in wanted} - wanted:
        wanted |= more
    return sum(_used(pid) for pid in wanted) / _TICKS


def _parents() -> dict[int, int]:
    found = {int(path.name): _fields(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()}
    return {pid: int(fields[1]) for pid, fields in found.items() if fields}


def _used(pid: int) -> int:
    return sum(int(value) for value in _fields(pid)[11:15])


def _fields(pid: int) -> list[str]:
    """/proc/<pid>/stat from the third field on; nothing for a process that has gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return stat.rpartition(")")[2].split()
