"""Run as a program of its own: become the server that the caller asked for, then say so.

The order arrives as JSON on standard input (never as arguments: it may hold secrets), the answer goes to file
descriptor 3 as one line: `{"pid": …, "started": …}`, or `{"error": …}`. The descriptor closes when the new program
has taken over. The record of the process is written *before* that, by the process that is about to become the
server, so that no crash of the caller can leave a server that nobody knows of.

Only the standard library, imported before privileges are dropped: the account of the server may not be able to
read this interpreter.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

STATUS_FD = 3
_PR_SET_PDEATHSIG = 1
_LOG_LIMIT_BYTES = 10 * 1024 * 1024


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the program's name: state, ppid, pgrp, session, …, start time at 19."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()


def boot_id() -> str:
    """This boot of the machine: process ids and start times mean nothing beyond it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def main() -> NoReturn:
    os.set_inheritable(STATUS_FD, False)
    try:
        _become(json.load(sys.stdin))
    except BaseException as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        place = f": {exc.filename}" if isinstance(exc, OSError) and exc.filename else ""
        _answer(error=f"{reason}{place}")
    os._exit(127)


def _become(order: dict[str, Any]) -> NoReturn:
    signal_at_parents_death = order["signal_at_parents_death"]
    if signal_at_parents_death is None and os.fork() != 0:
        os._exit(0)
    os.setsid()
    _restore_signals()
    _redirect(Path(order["log"]))
    if order["lock"] is not None:
        _hold(Path(order["lock"]))
    _write_record(Path(order["record"]), order["facts"])
    os.chdir(order["cwd"])
    os.umask(0o077)
    if order["uid"] is not None:
        os.setgroups([])
        os.setresgid(order["gid"], order["gid"], order["gid"])
        os.setresuid(order["uid"], order["uid"], order["uid"])
    if signal_at_parents_death is not None:
        _die_with_parent(signal_at_parents_death, order["parent"])
    try:
        os.execve(order["argv"][0], order["argv"], order["env"])
    except OSError as exc:
        exc.filename = order["argv"][0]
        raise


def _restore_signals() -> None:
    """Python ignores some signals, and the caller may block some; neither must reach the server."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _redirect(log: Path) -> None:
    """Standard input from nowhere, output appended to the log; a long log is set aside once. Nothing else open."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_LIMIT_BYTES:
            log.replace(log.with_name(log.name + ".1"))
    nothing = os.open("/dev/null", os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            if int(name) > STATUS_FD:
                os.close(int(name))


def _hold(lock: Path) -> None:
    """A lock that the server and all its children inherit, so that it is held while any of them lives."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.set_inheritable(descriptor, True)


def _write_record(path: Path, facts: dict[str, Any]) -> None:
    identity = {"pid": os.getpid(), "started": int(stat_fields(os.getpid())[19]), "boot": boot_id()}
    draft = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({**facts, **identity}, file)
    draft.replace(path)
    _answer(**identity)


def _die_with_parent(number: int, parent: int) -> None:
    """Set last: changing the user id would clear it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os._exit(0)


def _answer(**facts: object) -> None:
    with contextlib.suppress(OSError):
        os.write(STATUS_FD, json.dumps(facts).encode() + b"\n")


if __name__ == "__main__":
    main()
