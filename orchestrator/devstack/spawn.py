"""Start a process that either outlives its caller or certainly dies with it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.devstack import launch
from orchestrator.devstack.account import Account
from orchestrator.devstack.procfs import ProcessId
from orchestrator.errors import StackError


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run. `argv[0]` is an absolute path; `facts` go into the record next to the process's identity."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    record: Path
    facts: Mapping[str, object]
    account: Account | None = None
    lock: Path | None = None
    """Held by the process and by all that inherit its files; refused while another holds it."""
    signal_at_parents_death: signal.Signals | None = None
    """None: the process outlives us. Else it gets this signal when the *thread* that calls `spawn` ends."""


def spawn(order: Order) -> ProcessId:
    """Run it in a session of its own; returns once the new program has taken over.

    Raises StackError where that fails; the record is then gone again.
    """
    answers, status = os.pipe()
    try:
        with tempfile.TemporaryFile() as file:
            file.write(json.dumps(_as_json(order)).encode())
            file.seek(0)
            child = _run_launcher(file.fileno(), status)
    finally:
        os.close(status)
    with os.fdopen(answers, encoding="utf-8") as stream:
        replies = [json.loads(line) for line in stream]
    if order.signal_at_parents_death is None:
        _reap(child)
    failures = [reply["error"] for reply in replies if "error" in reply]
    if failures or not replies:
        if order.signal_at_parents_death is not None:
            _reap(child)
        order.record.unlink(missing_ok=True)
        raise StackError(f"{order.argv[0]} could not be started: {failures[0] if failures else 'no answer'}.")
    return ProcessId(**replies[0])


def _run_launcher(order_fd: int, status_fd: int) -> int:
    high_order, high_status = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (order_fd, status_fd))
    moves = [(os.POSIX_SPAWN_DUP2, high_order, 0), (os.POSIX_SPAWN_DUP2, high_status, launch.STATUS_FD)]
    argv = [sys.executable, "-I", "-S", str(Path(launch.__file__).resolve())]
    try:
        return os.posix_spawn(sys.executable, argv, dict(os.environ), file_actions=moves)
    except OSError as exc:
        raise StackError(f"{sys.executable} could not be started: {exc.strerror}.") from exc
    finally:
        os.close(high_order)
        os.close(high_status)


def _as_json(order: Order) -> dict[str, Any]:
    return {
        "argv": list(order.argv),
        "env": dict(order.env),
        "cwd": str(order.cwd),
        "log": str(order.log),
        "record": str(order.record),
        "lock": str(order.lock) if order.lock else None,
        "facts": dict(order.facts),
        "uid": order.account.uid if order.account else None,
        "gid": order.account.gid if order.account else None,
        "signal_at_parents_death": order.signal_at_parents_death,
        "parent": os.getpid(),
    }


def _reap(child: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)
