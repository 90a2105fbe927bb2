"""The supervisor of one agent: a small process of its own that leaves nothing of the agent behind.

It runs as a file with nothing but the standard library, in a session of its own:

    python -I -S launch.py PARENT STATUS_FD FILE_LIMIT GRACE_SECONDS DROP ARGV…

    PARENT         process id of the worker; when the worker dies, however it dies, the agent is killed
    STATUS_FD      a pipe to the worker: `exit CODE`, after `error ERRNO` where the agent could not be started
    FILE_LIMIT     the largest file in bytes that the agent may write, 0 for no limit
    GRACE_SECONDS  time between the agent's SIGTERM and its SIGKILL
    DROP           a variable that is not the agent's to see, `-` for none

SIGTERM ends the agent politely, SIGQUIT at once. In every case all descendants are killed and reaped before the
supervisor exits: as a subreaper it inherits those that left their parent, their process group or their session.
"""

# The agent waits for these imports, so none of them is a heavy one (no json, pathlib or subprocess).
# ruff: noqa: PTH110, PTH112, PTH123, PTH208

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_NOT_STARTED = 127


def descendants(root: int) -> set[int]:
    """Every process below `root` at this moment, `root` itself left out; empty where there is no /proc."""
    found: set[int] = set()
    pending = [root]
    table = None if os.path.exists("/proc/thread-self/children") else _parents()
    while pending:
        parent = pending.pop()
        children = _children(parent) if table is None else table.get(parent, [])
        fresh = set(children) - found
        found |= fresh
        pending += fresh
    return found


def _children(pid: int) -> list[int]:
    """The kernel's own list of the children of each of its threads."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                found += map(int, file.read().split())
    except OSError:
        pass  # it ended while we looked
    return found


def _parents() -> dict[int, list[int]]:
    """Parent to children from a walk over /proc, for kernels that keep no list of children."""
    table: dict[int, list[int]] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb", buffering=0) as file:
                    fields = file.read()
            except OSError:
                continue
            parent = int(fields[fields.rindex(b")") + 2 :].split()[1])
            table.setdefault(parent, []).append(int(entry))
    return table


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


class Supervisor:
    """One agent and all that it starts, from its fork to the last reaped descendant."""

    def __init__(self, *, parent: int, status: int, grace_seconds: float) -> None:
        self._parent = parent
        self._status = status
        self._grace_seconds = grace_seconds
        self._wakeups = _listen()
        self._agent = 0
        self._exit_code: int | None = None

    def run(self, argv: list[str], file_limit: int) -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        if os.getppid() != self._parent:
            return  # the worker died before the kernel knew whom to tell
        supervisor = os.getpid()
        self._agent = os.fork()
        if self._agent == 0:
            _become_agent(argv, file_limit, supervisor=supervisor, status=self._status)
        self._until_over()
        self._end_all()
        os.write(self._status, b"exit %d\n" % (_NOT_STARTED if self._exit_code is None else self._exit_code))

    def _until_over(self) -> None:
        """Wait until the agent exits, or has to be killed."""
        deadline: float | None = None
        while not self._reap() and self._exit_code is None:
            if deadline is not None and time.monotonic() >= deadline:
                return
            arrived = self._wait(None if deadline is None else deadline - time.monotonic())
            if os.getppid() != self._parent or arrived & {signal.SIGQUIT, signal.SIGINT, signal.SIGHUP}:
                return
            if signal.SIGTERM in arrived and deadline is None:
                deadline = time.monotonic() + self._grace_seconds
                _kill_group(self._agent, signal.SIGTERM)

    def _end_all(self) -> None:
        """Kill until no child is left. A subreaper without a child has no descendant either."""
        while not self._reap():
            own_group = os.getpgrp()
            pids = descendants(os.getpid())
            if self._exit_code is None:
                pids.add(self._agent)  # all that can be known where there is no /proc
            # Whole groups first: the kernel kills a group in one stroke, so that a fork bomb cannot outrun us.
            for group in {_group(pid) for pid in pids} - {own_group, 0}:
                _kill_group(group, signal.SIGKILL)
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    continue
            self._wait(0.02)

    def _reap(self) -> bool:
        """Collect all that have ended; True when there is no child any more."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._agent:
                self._exit_code = os.waitstatus_to_exitcode(status)

    def _wait(self, timeout: float | None) -> set[int]:
        """Sleep until a signal arrives; the signals that did."""
        if sys.platform != "linux":  # nobody tells us there that the worker died
            timeout = 1.0 if timeout is None else min(timeout, 1.0)
        ready, _, _ = select.select([self._wakeups], [], [], None if timeout is None else max(timeout, 0.0))
        return set(os.read(self._wakeups, 65536)) if ready else set()


def _listen() -> int:
    """Turn signals into bytes on a pipe, so that none is lost between a look and a sleep."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return reader


def _become_agent(argv: list[str], file_limit: int, *, supervisor: int, status: int) -> None:
    """In the child: own group, limits, default signals, and then the agent's program. Never returns."""
    try:
        os.setpgid(0, 0)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(_NOT_STARTED)
        for number in signal.valid_signals():
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        _limit(resource.RLIMIT_CORE, 0)
        if file_limit:
            _limit(resource.RLIMIT_FSIZE, file_limit)
        _prefer_for_the_oom_killer()
        os.execvp(argv[0], argv)
    except OSError as exc:
        os.write(status, b"error %d\n" % (exc.errno or 0))
    finally:
        os._exit(_NOT_STARTED)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _prefer_for_the_oom_killer() -> None:
    """Where memory runs out, the agent goes first: not a worker, not a database server."""
    try:
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(b"500")
    except OSError:
        pass


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _kill_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def main(arguments: list[str]) -> None:
    parent, status, file_limit, grace_seconds, drop, *argv = arguments
    os.set_inheritable(int(status), False)
    os.environ.pop(drop, None)
    supervisor = Supervisor(parent=int(parent), status=int(status), grace_seconds=float(grace_seconds))
    supervisor.run(argv, int(file_limit))


if __name__ == "__main__":
    main(sys.argv[1:])
