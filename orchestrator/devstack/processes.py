"""Processes that are started, found again after any crash, and stopped for good: each has a record on disk."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.devstack import procfs
from orchestrator.devstack.account import Account
from orchestrator.devstack.procfs import ProcessId
from orchestrator.devstack.spawn import Order, spawn
from orchestrator.devstack.state import read_json
from orchestrator.devstack.status import ServiceState, ServiceStatus
from orchestrator.errors import StackError

_NAME = re.compile(r"[a-z0-9][a-z0-9_.@-]{0,62}")
_KILL_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StopPlan:
    """How to ask a process to end: each signal in turn, with the seconds that it gets. SIGKILL comes last, always."""

    steps: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 10.0),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One process as its record tells it; whether it still runs is `procfs.is_running(record.process)`."""

    name: str
    process: ProcessId
    log: Path
    address: str
    bound: bool
    stop: StopPlan

    @property
    def runs(self) -> bool:
        return procfs.is_running(self.process)


class Supervisor:
    """Starts, finds and stops named processes, with one record for each in `folder`.

    Nothing stays resident: the records, with process id, start time and boot, are all that is needed. Not locked:
    callers that may run at the same time take the stack's lock.
    """

    def __init__(self, folder: Path, logs: Path) -> None:
        self._folder = folder
        self._logs = logs

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path = Path("/"),
        log_path: Path | None = None,
        address: str = "",
        account: Account | None = None,
        lock: Path | None = None,
        bound_to_caller: bool = False,
        stop: StopPlan | None = None,
    ) -> Record:
        """Start the process; one of that name that runs already is left alone and returned.

        `env` is its whole environment. What an earlier, crashed process left in its session is ended first.
        `bound_to_caller`: it gets the first signal of `stop` when the calling *thread* ends, however that happens.
        Raises StackError.
        """
        if not _NAME.fullmatch(name):
            raise StackError(
                f"'{name}' cannot be the name of a process: use small letters, digits, '-', '_', '.', '@'."
            )
        present = self.find(name)
        if present is not None and present.runs:
            return present
        if present is not None:
            self.stop([name])
        self._make_folders()
        stop = stop or StopPlan()
        log = log_path or self._logs / f"{name}.log"
        facts = {
            "name": name,
            "log": str(log),
            "address": address,
            "bound": bound_to_caller,
            "stop": [[number.name, seconds] for number, seconds in stop.steps],
        }
        process = spawn(
            Order(
                argv=argv,
                env=env,
                cwd=cwd,
                log=log,
                record=self._path(name),
                facts=facts,
                account=account,
                lock=lock,
                signal_at_parents_death=stop.steps[0][0] if bound_to_caller else None,
            )
        )
        return Record(name=name, process=process, log=log, address=address, bound=bound_to_caller, stop=stop)

    def find(self, name: str) -> Record | None:
        """The record of that name; None for what was never started, or was stopped. Raises StackError if damaged."""
        path = self._path(name)
        fields = read_json(path, remedy=f"end {name} yourself if it runs, then delete the file")
        if fields is None:
            return None
        try:
            return _record(name, fields)
        except (KeyError, TypeError, ValueError) as exc:
            raise StackError(
                f"The record {path} is damaged: end {name} yourself if it runs, then delete the file."
            ) from exc

    def records(self) -> tuple[Record, ...]:
        """All of them, oldest first."""
        names = [path.name.removesuffix(".json") for path in self._folder.glob("*.json")]
        found = [record for record in map(self.find, names) if record is not None]
        return tuple(sorted(found, key=lambda record: (record.process.started, record.name)))

    def status(self) -> tuple[ServiceStatus, ...]:
        """What has a record: running or crashed, oldest first."""
        return tuple(describe(record) for record in self.records())

    def stop(self, names: Iterable[str] | None = None) -> tuple[str, ...]:
        """End these (all, by default) at the same time; returns the names of those that had a record.

        Each is asked as its stop plan says, then killed with all that is left in its session. Afterwards the record
        is gone. Raises StackError where something survives even that.
        """
        chosen = None if names is None else frozenset(names)
        records = [each for each in self.records() if chosen is None or each.name in chosen]
        for step in range(max((len(each.stop.steps) for each in records), default=0)):
            _ask(records, step)
        for record in records:
            _kill_session(record)
            self._path(record.name).unlink(missing_ok=True)
        return tuple(record.name for record in records)

    def _make_folders(self) -> None:
        for folder in (self._folder, self._logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def describe(record: Record) -> ServiceStatus:
    runs = record.runs
    return ServiceStatus(
        name=record.name,
        state=ServiceState.RUNNING if runs else ServiceState.CRASHED,
        pid=record.process.pid if runs else None,
        address=record.address,
        uptime_seconds=procfs.uptime_seconds(record.process) if runs else None,
        log=record.log,
        bound_to_caller=record.bound,
    )


def end_processes(processes: Sequence[ProcessId], what: str) -> None:
    """Kill these at once and wait until they are gone. Raises StackError for what survives."""
    for process in processes:
        procfs.send(process, signal.SIGKILL)
    if not procfs.wait_until(lambda: not any(map(procfs.is_running, processes)), _KILL_SECONDS):
        pids = ", ".join(str(each.pid) for each in processes if procfs.is_running(each))
        raise StackError(f"{what} (process {pids}) does not end, even when killed: look at it, then try again.")


def _ask(records: Sequence[Record], step: int) -> None:
    asked = [each for each in records if step < len(each.stop.steps) and each.runs]
    for record in asked:
        procfs.send(record.process, record.stop.steps[step][0])
    patience = max((record.stop.steps[step][1] for record in asked), default=0.0)
    procfs.wait_until(lambda: not any(record.runs for record in asked), patience)


def _kill_session(record: Record) -> None:
    """The process itself if it still runs, and what it left behind; repeated, for the dying may still fork."""
    for _ in range(10):
        left = procfs.session_of(record.process)
        if record.runs and record.process not in left:
            left.append(record.process)
        if not left:
            return
        end_processes(left, record.name)
    raise StackError(f"{record.name} keeps starting processes faster than they can be killed: look at it.")


def _record(name: str, fields: Mapping[str, Any]) -> Record:
    return Record(
        name=name,
        process=ProcessId(pid=int(fields["pid"]), started=int(fields["started"]), boot=str(fields["boot"])),
        log=Path(fields["log"]),
        address=str(fields["address"]),
        bound=bool(fields["bound"]),
        stop=StopPlan(steps=tuple((signal.Signals[number], float(secs)) for number, secs in fields["stop"])),
    )
