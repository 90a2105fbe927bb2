"""The arena: an installation to hurt, and the words in which tests hurt it and look at it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import redis

from orchestrator.app.embedded import stack_of
from orchestrator.errors import QueueUnavailable, RegistryUnavailable, StackError
from orchestrator.runs import RunState
from orchestrator.settings import Settings
from orchestrator.store import ExperimentRow, Run
from tests.chaos import experiment
from tests.chaos.experiment import Batch
from tests.installation import Installation

SETTINGS = """
[worker]
lease_seconds = 6
heartbeat_seconds = 1
dispatch_seconds = 3
[sweeps]
rescue_every_seconds = 1
expire_every_seconds = 3
"""
"""Leases and sweeps so short that a test sees them work."""


class NoDispatcher:
    """This process sends nothing itself: Celery's state is global, and other tests have their own broker."""

    def __init__(self, *_: Any) -> None:
        pass

    def start(self, *_: Any, **__: Any) -> None:
        raise QueueUnavailable

    resume = summarise = check = start


class QuietInstallation(Installation):
    @property
    def settings(self) -> Settings:
        return super().settings.model_copy(update={"dispatcher": f"{__name__}:NoDispatcher"})


class Arena:
    """One installation, a desk at which a user gives commands, and a source of random choices that can be repeated."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        self.installation = QuietInstallation(folder, settings=SETTINGS)
        self.seed = seed
        self.random = random.Random(seed)
        self._desk: subprocess.Popen[str] | None = None

    def close(self) -> None:
        if self._desk is not None:
            self._desk.communicate()
        self.installation.stop()

    # What users do

    def submit(self, name: str, *, promote: str = "all", nap: float = 0.6, only: str = "", **keys: Any) -> Batch:
        """Send eight runs of the counting agent to a project of their own, four at a time (fewer with `only` one of
        its two variants, and with `repeats`)."""
        target = self.installation.add_project(name, target_sql=experiment.TARGET, max_parallel=4)
        path = experiment.write(self.installation.folder / name, promote=promote, nap=nap, **keys)
        return Batch(handle=self.ask("submit", str(path), only), target=target, promote=promote)

    def ask(self, *command: str) -> Any:
        """Give a command to the desk, and get what it answers. Fails where the command does."""
        if self._desk is None:
            self._desk = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.desk"],
                env=self._environment(),
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._desk.stdin is not None
        assert self._desk.stdout is not None
        self._desk.stdin.write(json.dumps(command) + "\n")
        self._desk.stdin.flush()
        line = self._desk.stdout.readline()
        assert line, f"the desk ended with {self._desk.wait()}"
        answer = json.loads(line)
        assert "error" not in answer, f"{command}: {answer}"
        return answer["value"]

    # What happens to it

    def kill_group(self, *services: str) -> None:
        """Workers with all their pool processes at once, as when their host loses power."""
        pids = [self.installation.pid(service) for service in services]
        pids += [child for service in services for child in self.installation.children(service)]
        self.end(*pids)

    def kill_children(self, service: str, *, times: int, pause: tuple[float, float]) -> int:
        """SIGKILL pool processes picked at random, at random moments; how many died."""
        killed = 0
        for _ in range(times):
            time.sleep(self.random.uniform(*pause))
            if children := self.installation.children(service):
                killed += send(self.random.choice(children), signal.SIGKILL)
        return killed

    def kill(self, *services: str) -> None:
        """The main process of each."""
        self.end(*(self.installation.pid(service) for service in services))

    def end(self, *pids: int) -> None:
        """SIGKILL, and wait: what is started while they are still dying would take them for running."""
        for pid in pids:
            send(pid, signal.SIGKILL)
        self.wait(lambda: not any(map(_runs, pids)), 10, "killed processes to be gone")

    def bring_back(self, batch: Batch | None = None) -> None:
        """Start again what is down, servers and workers.

        Celery's worker ends where a pool process dies before it is up, so that a second start may be needed.
        """
        for last in (False, False, True):
            try:
                self.installation.restart_servers()
                self.installation.start_workers()
            except StackError as exc:
                if last:
                    self.fail(str(exc), batch)
            else:
                return

    def start(self, name: str, *arguments: str) -> int:
        """One more Celery process beside those that the installation starts."""
        argv = [sys.executable, "-m", "celery", "-A", "workers.app", *arguments]
        stack = stack_of(self.installation.settings)
        status = stack.start(name, argv, env=self._environment(), cwd=self.installation.folder, bound_to_caller=True)
        assert status.pid is not None
        return status.pid

    def stop(self, *names: str) -> None:
        """End what `start` started."""
        for name in names:
            stack_of(self.installation.settings).stop(name)

    def broker(self) -> redis.Redis:
        return redis.Redis.from_url(stack_of(self.installation.settings).valkey_url())

    # What can be seen

    def row(self, batch: Batch) -> ExperimentRow:
        return self.installation.context.store.experiments.by_handle(batch.handle)

    def runs(self, batch: Batch) -> list[Run]:
        return self.installation.context.store.runs.of_experiment(self.row(batch).id)

    def registry(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the registry directly."""
        options = "-c search_path=forkyard_registry -c statement_timeout=10s"
        return _ask(self.installation.settings.registry.conninfo(), statement, values, options=options)

    def admin(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the server as its superuser."""
        return _ask(self.installation.admin_url, statement, values)

    def wait(self, holds: Callable[[], Any], within: float, what: str, batch: Batch | None = None) -> Any:
        """What `holds` gives once it is true; the registry may be away for a while."""
        deadline = time.monotonic() + within
        while True:
            with suppress(psycopg.OperationalError, RegistryUnavailable):
                if found := holds():
                    return found
            if time.monotonic() > deadline:
                self.fail(f"waited {within:g} s for {what}", batch)
            time.sleep(0.03)

    def in_step(self, batch: Batch, state: RunState, *, count: int = 1, within: float = 30) -> list[Run]:
        """Runs that a worker is at in that state (with their agents started), as soon as there are `count`."""

        def found() -> list[Run]:
            runs = [run for run in self.runs(batch) if run.state is state and run.owner is not None]
            if state is RunState.RUNNING:
                runs = [run for run in runs if run.process_group is not None]
            return runs if len(runs) >= count else []

        return list(self.wait(found, within, f"{count} runs to be {state}", batch))

    def idle(self) -> None:
        """Wait until every message that was sent has been dealt with."""
        with self.broker() as client:

            def quiet() -> bool:
                return not any(client.llen(key) for key in client.scan_iter("*", _type="list"))

            self.wait(quiet, 30, "the queues to be empty")
        self.wait(lambda: not self.registry("SELECT 1 FROM runs WHERE owner IS NOT NULL"), 30, "the workers to rest")
        time.sleep(0.5)

    def fail(self, why: str, batch: Batch | None) -> NoReturn:
        """Fails the test with all that helps to see why; the seed repeats the random choices."""
        lines = [f"{why} (FORKYARD_CHAOS_SEED={self.seed})"]
        with suppress(psycopg.Error, RegistryUnavailable):
            lines += self._history(batch) if batch else []
        for log in sorted((self.installation.settings.state_dir / "stack" / "logs").glob("*.log")):
            told = log.read_text(errors="replace").splitlines()
            grave = [line[:300] for line in told if "WARNING" in line.upper() or "ERROR" in line.upper()]
            lines += [f"--- {log.name}", *grave[-12:], *(["…", *(line[:300] for line in told[-5:])] if told else [])]
        raise AssertionError("\n".join(lines))

    def _history(self, batch: Batch) -> list[str]:
        lines = [
            f"{run.id}: {run.state} {run.steps_done}/6 epoch {run.epoch} tries {run.step_tries} owner {run.owner}"
            f" lease {run.lease_until:%H:%M:%S} parked {run.parked_at is not None} – {run.reason}"
            for run in self.runs(batch)
        ]
        row = self.row(batch)
        lines.append(f"finished {row.finished_at}, best {row.best_run}, {row.summary}")
        rows = self.registry(
            "SELECT run_id, epoch, step, started_at::time(0), finished_at::time(0), outcome, reason FROM step_attempts"
            " WHERE run_id LIKE %s AND outcome IS DISTINCT FROM 'done' ORDER BY started_at",
            f"{batch.handle}/%",
        )
        rows += self.registry(
            "SELECT run_id, at::time(0), kind, detail FROM events WHERE run_id LIKE %s AND kind <> 'state' ORDER BY id",
            f"{batch.handle}/%",
        )
        rows += self.registry("SELECT name, state, purpose, reason, run_id FROM environments WHERE state <> 'released'")
        return lines + [" ".join(map(str, row)) for row in rows]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "FORKYARD_CONFIG": str(self.installation.config)}


def owner_pid(run: Run) -> int:
    """The pool process that holds the run's claim."""
    assert run.owner is not None
    return int(run.owner.rsplit(":", 2)[1])


def send(pid: int, number: signal.Signals) -> bool:
    """Signal a process; False if there is none."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def _runs(pid: int) -> bool:
    with suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _ask(conninfo: str, statement: str, values: tuple[Any, ...], **more: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(conninfo, autocommit=True, **more) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []
