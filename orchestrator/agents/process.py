"""Run one agent as a process, watch it, and leave nothing of it behind."""

from __future__ import annotations

import errno
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from orchestrator.agents import launch, processes, usage
from orchestrator.agents.base import AgentOutcome, AgentRequest, EndedBy
from orchestrator.agents.log import Log
from orchestrator.errors import AgentError, AgentFailed

_LOOK_SECONDS = 0.25
_GRACE_SECONDS = 2.0
_PATIENCE_SECONDS = 5.0
_PIECE = 65_536
_LAST_PIECES = 64
_KILLED = -signal.SIGKILL.value
_ENDING: dict[EndedBy, signal.Signals] = {
    "timeout": signal.SIGTERM,
    "cancel": signal.SIGTERM,
    "workspace": signal.SIGQUIT,
    "processes": signal.SIGQUIT,
}


def end_leftovers(run_id: str, pgid: int | None, *, workspace: Path | None = None) -> int:
    """Kill what a dead worker left of a run's agent on this host: see `processes.end_leftovers`."""
    return processes.end_leftovers(run_id, pgid, workspace=workspace)


def run_process(
    request: AgentRequest,
    *,
    cancelled: Callable[[], bool],
    on_start: Callable[[int], None],
    redact: Callable[[str], str],
) -> AgentOutcome:
    """Run the agent to its end and give what came of it; `base.problem` turns that into an error.

    `on_start` gets the supervisor's process id (its session and process group too) before any waiting;
    `cancelled` is asked about four times a second. What either raises ends the agent and is passed on. On return,
    and when any exception leaves this function, no process of the agent exists any more. After a timeout or a
    cancel the agent gets SIGTERM and two seconds, over a limit SIGKILL at once.

    Raises AgentFailed where the agent cannot be started, AgentError where its log cannot be written.
    """
    started = time.monotonic()
    with Log(request.log_path, limit_bytes=request.log_limit_bytes, redact=redact) as log:
        with _Supervised(request, log) as agent:
            on_start(agent.pid)
            ended_by = _watch(request, agent, cancelled, deadline=started + request.timeout_seconds)
        if agent.start_error is not None:
            raise _cannot_start(request, agent.start_error)
        log.close()
    return AgentOutcome(
        exit_code=_KILLED if agent.exit_code is None else agent.exit_code,
        duration_seconds=time.monotonic() - started,
        log_bytes=log.size,
        log_truncated=log.truncated,
        ended_by=ended_by or _afterwards(request, agent.exit_code),
    )


def _watch(
    request: AgentRequest, agent: _Supervised, cancelled: Callable[[], bool], *, deadline: float
) -> EndedBy | None:
    """Wait for the agent's end, or bring it about; the reason if it was brought about."""
    workspace = _WorkspaceWatch(request)
    next_look = time.monotonic() + _LOOK_SECONDS
    while agent.wait(min(next_look, deadline) - time.monotonic()):
        now = time.monotonic()
        if now < next_look and now < deadline:
            continue
        next_look = now + _LOOK_SECONDS
        reason: EndedBy | None = None
        if now >= deadline:
            reason = "timeout"
        elif cancelled():
            reason = "cancel"
        elif request.process_limit is not None and processes.count(agent.pid) > request.process_limit:
            reason = "processes"
        elif workspace.is_over(now):
            reason = "workspace"
        if reason is not None:
            agent.end(_ENDING[reason])
            return reason
    return None


class _WorkspaceWatch:
    """Measures the workspace, the more rarely the longer it takes: at most a twentieth of the time."""

    def __init__(self, request: AgentRequest) -> None:
        self._folder = request.workspace
        self._limit = request.workspace_limit_bytes
        self._next = 0.0

    def is_over(self, now: float) -> bool:
        if now < self._next:
            return False
        size = usage.folder_bytes(self._folder, stop_above=self._limit)
        self._next = now + 20 * (time.monotonic() - now)
        return size > self._limit


def _afterwards(request: AgentRequest, exit_code: int | None) -> EndedBy:
    """Why an agent ended that nobody here ended."""
    if exit_code is None:
        return "interrupted"
    limit = request.workspace_limit_bytes
    if exit_code == -signal.SIGXFSZ or usage.folder_bytes(request.workspace, stop_above=limit) > limit:
        return "workspace"
    return "exit"


def _cannot_start(request: AgentRequest, number: int) -> AgentFailed:
    program = request.argv[0]
    reasons = {
        errno.ENOENT: "it, or the interpreter that its first line names, does not exist",
        errno.EACCES: "it is not executable; `chmod +x` it before you submit",
        errno.ENOEXEC: "it is neither a program nor a script with a `#!` line",
        errno.E2BIG: "its arguments and variables are too long",
    }
    reason = reasons.get(number, os.strerror(number))
    return AgentFailed(f"The agent's program {program!r} could not be started: {reason}.", run=request.run_id)


class _Supervised:
    """The supervisor process of one agent, from the worker's side, and the pipes to it."""

    def __init__(self, request: AgentRequest, log: Log) -> None:
        self._request = request
        self._log = log
        self._status = bytearray()
        self._running = True
        output, output_end = os.pipe()
        status, status_end = os.pipe()
        try:
            self._process = _spawn(request, output_end, status_end)
        except BaseException:
            os.close(output)
            os.close(status)
            raise
        finally:
            os.close(output_end)
            os.close(status_end)
        self.pid = self._process.pid
        os.set_blocking(output, False)
        self._selector = selectors.DefaultSelector()
        self._output, self._status_pipe = output, status
        self._selector.register(output, selectors.EVENT_READ)
        self._selector.register(status, selectors.EVENT_READ)

    @property
    def exit_code(self) -> int | None:
        """The agent's exit code, or None as long as the supervisor has reported none."""
        return self._reported(b"exit")

    @property
    def start_error(self) -> int | None:
        """The errno of an agent that could not be started."""
        return self._reported(b"error")

    def _reported(self, word: bytes) -> int | None:
        for line in bytes(self._status).splitlines():
            if line.startswith(word + b" "):
                return int(line.split()[1])
        return None

    def wait(self, timeout: float) -> bool:
        """Sleep until there is output, until the end, or until the timeout; output goes to the log.

        False once the supervisor has ended.
        """
        for key, _ in self._selector.select(max(timeout, 0.0)):
            if key.fd == self._output:
                self._read_output()
            else:
                piece = os.read(self._status_pipe, _PIECE)
                self._status += piece
                self._running = bool(piece)
        return self._running

    def _read_output(self) -> bool:
        """Log one piece of output; False when there is none (any more)."""
        try:
            piece = os.read(self._output, _PIECE)
        except BlockingIOError:
            return False
        if piece:
            self._log.write(piece)
        elif self._output in self._selector.get_map():
            self._selector.unregister(self._output)
        return bool(piece)

    def end(self, number: signal.Signals) -> None:
        """Ask the supervisor to end everything, and keep logging until it has; kill it where it does not."""
        self._signal(number)
        deadline = time.monotonic() + _GRACE_SECONDS + _PATIENCE_SECONDS
        while self.wait(deadline - time.monotonic()) and time.monotonic() < deadline:
            continue

    def _signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)  # an agent may have stopped its supervisor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        try:
            self._finish()
            if failure is None:
                self._log_rest()
        finally:
            self._selector.close()
            os.close(self._output)
            os.close(self._status_pipe)

    def _finish(self) -> None:
        """See that the supervisor is gone, and with it all that it supervised."""
        try:
            if self._process.poll() is None and self._running:
                self._signal(signal.SIGQUIT)
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self.exit_code is None:
            request = self._request
            processes.end_leftovers(request.run_id, self.pid, workspace=request.workspace)

    def _log_rest(self) -> None:
        """What is still in the pipe: everybody who could write to it has ended."""
        for _ in range(_LAST_PIECES):
            if not self._read_output():
                return


def _spawn(request: AgentRequest, output: int, status: int) -> subprocess.Popen[bytes]:
    drop = "-" if "LC_CTYPE" in request.environment else "LC_CTYPE"  # Python sets it itself under LANG=C
    limits = [os.getpid(), status, request.workspace_limit_bytes + 1, _GRACE_SECONDS, drop]
    argv = [sys.executable, "-I", "-S", launch.__file__, *map(str, limits), *request.argv]
    if not request.workspace.is_dir():
        raise AgentError(f"The agent's workspace {request.workspace} does not exist.", run=request.run_id)
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(status,),
            env=dict(request.environment),
            cwd=request.workspace,
            start_new_session=True,
        )
    except OSError as exc:
        if exc.errno == errno.E2BIG:
            raise _cannot_start(request, errno.E2BIG) from exc
        raise AgentError(f"The agent's supervisor cannot be started: {exc.strerror}.", run=request.run_id) from exc
    except ValueError as exc:
        raise AgentFailed(
            f"The agent could not be started: an argument or a variable holds a character that none may ({exc}).",
            run=request.run_id,
        ) from None
