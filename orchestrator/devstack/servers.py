"""What the stack needs to know of a server, and how one is brought up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.devstack import ports, procfs
from orchestrator.devstack.account import Account
from orchestrator.devstack.processes import Record, StopPlan, Supervisor, end_processes
from orchestrator.devstack.state import is_held
from orchestrator.errors import StackError
from orchestrator.secrets import redact

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_START_SECONDS = 60.0
_RELEASE_SECONDS = 3.0
_PORT_TRIES = 3
_LOG_TAIL_LINES = 5


class Server(Protocol):
    """One kind of server: `home` is its data folder, where it works; `programs` are those that work there."""

    @property
    def name(self) -> str: ...
    @property
    def home(self) -> Path: ...
    @property
    def programs(self) -> frozenset[str]: ...
    @property
    def stop(self) -> StopPlan: ...

    def prepare(self) -> None:
        """Bring its folder into a state to start from. Idempotent; only called while nothing works there."""

    def argv(self, port: int) -> tuple[str, ...]: ...

    def is_ready(self, record: Record, port: int) -> bool:
        """Whether it serves requests with our password. Raises StackError where it refuses the password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BringUp:
    """One `up` of several servers. `ports` (by server) is changed in place, and saved before a server gets one."""

    supervisor: Supervisor
    ports: dict[str, int]
    save_ports: Callable[[], None]
    account: Account | None
    bound_to_caller: bool

    def run(self, servers: Sequence[Server]) -> tuple[str, ...]:
        """Start all that does not run yet, then wait until all answer; returns the names of those started.

        Where one fails, those that were started here are stopped again. Raises StackError.
        """
        started: list[str] = []
        try:
            records = {server.name: self._find_or_start(server, started) for server in servers}
            for server in servers:
                self._finish(server, records[server.name])
        except BaseException:
            self.supervisor.stop(started)
            raise
        return tuple(started)

    def _find_or_start(self, server: Server, started: list[str]) -> Record:
        present = self.supervisor.find(server.name)
        if present is not None and present.runs:
            # A state file that was lost and made anew knows no ports: the record does.
            self._assign(server, int(present.address.rpartition(":")[2]))
            return present
        started.append(server.name)
        known = self.ports.get(server.name)
        return self._start(server, known if known and ports.is_free(known) else self._other_port())

    def _start(self, server: Server, port: int) -> Record:
        """Without waiting for it; what a crash left at work in its folder is ended first."""
        self.supervisor.stop([server.name])
        end_strays(server.name, server.home, server.programs)
        lock = server.home.with_name(f"{server.name}.lock")
        # A process counts as ended a little before the last of its threads lets go of the lock.
        if not procfs.wait_until(lambda: not is_held(lock), _RELEASE_SECONDS):
            raise StackError(
                f"A {server.name} that cannot be seen from here uses {server.home}: "
                "stop it where it runs (perhaps in another container), or name another state folder."
            )
        server.prepare()
        self._assign(server, port)
        return self.supervisor.start(
            server.name,
            server.argv(port),
            env=_ENVIRONMENT,
            cwd=server.home,
            address=f"{ports.LOOPBACK}:{port}",
            account=self.account,
            lock=lock,
            bound_to_caller=self.bound_to_caller,
            stop=server.stop,
        )

    def _finish(self, server: Server, record: Record) -> None:
        """Wait until it answers; on another port, if somebody took the first one meanwhile."""
        for _ in range(_PORT_TRIES):
            if _wait(server, record, self.ports[server.name]):
                return
            if ports.is_free(self.ports[server.name]):
                break
            record = self._start(server, self._other_port())
        raise StackError(f"{server.name} did not start: {log_tail(record.log)} (see {record.log}).")

    def _assign(self, server: Server, port: int) -> None:
        if self.ports.get(server.name) != port:
            self.ports[server.name] = port
            self.save_ports()

    def _other_port(self) -> int:
        return ports.choose_port(self.ports.values())


def end_strays(name: str, home: Path, programs: frozenset[str]) -> None:
    """End what works in a server's folder without a record, such as backends whose postmaster was killed."""
    left = procfs.working_in(home.resolve(), programs)
    if left and not procfs.wait_until(lambda: not any(map(procfs.is_running, left)), 0.5):
        end_processes(left, name)


def log_tail(log: Path) -> str:
    """The last lines of a log as one line, without secrets."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return redact(" | ".join(line.strip() for line in lines[-_LOG_TAIL_LINES:] if line.strip())) or "it left no log"


def _wait(server: Server, record: Record, port: int) -> bool:
    """True when it is ready, False when it ended."""
    ready = False

    def decided() -> bool:
        nonlocal ready
        ready = server.is_ready(record, port)
        return ready or not record.runs

    if not procfs.wait_until(decided, _START_SECONDS):
        raise StackError(
            f"{server.name} runs (process {record.process.pid}) but has not answered for {_START_SECONDS:.0f} s: "
            f"see {record.log}, or stop it with `forkyard down`."
        )
    return ready
