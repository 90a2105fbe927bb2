"""What `up`, `down` and `status` answer; never holds a password."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class ServiceState(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    CRASHED = "crashed"
    """It was started and never stopped, but is gone: `up` starts it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """One server or supervised process. `address` is host:port, or empty for what listens nowhere."""

    name: str
    state: ServiceState
    pid: int | None = None
    address: str = ""
    uptime_seconds: float | None = None
    log: Path | None = None
    bound_to_caller: bool = False
    """It ends together with the process that started it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackStatus:
    """`services` begins with postgres and valkey; `started` names those that this very call has started."""

    state_dir: Path
    data_dir: Path
    account: str
    cloning: str
    disposable: bool
    services: tuple[ServiceStatus, ...]
    started: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def running(self) -> bool:
        """Whether there are services and all of them run."""
        return bool(self.services) and all(each.state is ServiceState.RUNNING for each in self.services)

    def service(self, name: str) -> ServiceStatus:
        """That service; one that was never started counts as stopped."""
        for each in self.services:
            if each.name == name:
                return each
        return ServiceStatus(name=name, state=ServiceState.STOPPED)
