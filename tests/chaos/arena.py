"""The arena: an installation to break, the experiment that runs meanwhile, and what must hold afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import yaml

from orchestrator.app.embedded import stack_of
from orchestrator.errors import QueueUnavailable
from orchestrator.forks.base import Finding
from orchestrator.runs import TERMINAL, RunState
from orchestrator.settings import Settings
from orchestrator.store import ExperimentRow, Run
from tests.installation import Installation

RUNS = [f"{variant}#{repeat}" for variant in ("one", "two") for repeat in (1, 2, 3, 4)]

TARGET = """
CREATE TABLE by_hand (run text PRIMARY KEY, times integer NOT NULL DEFAULT 0);
CREATE TABLE by_migration (run text PRIMARY KEY, times integer NOT NULL DEFAULT 0);
CREATE TABLE hand_log (run text NOT NULL);
CREATE TABLE migration_log (run text NOT NULL);
INSERT INTO by_hand SELECT v || '#' || n FROM unnest(ARRAY['one', 'two']) v, generate_series(1, 4) n;
INSERT INTO by_migration SELECT run FROM by_hand;
"""
"""Every run counts itself up once in each counter and adds one line to each log, which has no key to catch a second."""

AGENT = """
import os, pathlib, subprocess, sys, time
import psycopg

run = os.environ["FORKYARD_RUN_ID"].partition("/")[2]
# What an agent leaves running must end with it, whatever becomes of its worker.
subprocess.Popen(["sleep", "600"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
with psycopg.connect(os.environ["DATABASE_URL"]) as fork:
    fork.execute("UPDATE by_hand SET times = times + 1 WHERE run = %s", [run])
    fork.execute("INSERT INTO hand_log VALUES (%s)", [run])
for number, statement in enumerate((
    f"UPDATE by_migration SET times = times + 1 WHERE run = '{run}'",
    f"INSERT INTO migration_log VALUES ('{run}')",
), start=1):
    path = pathlib.Path(os.environ["FORKYARD_MIGRATIONS_DIR"]) / f"{number}.sql"
    path.write_text(statement)
time.sleep(float(sys.argv[1]))
"""

COUNTS = """
SELECT run, h.times, m.times,
       (SELECT count(*) FROM hand_log l WHERE l.run = h.run),
       (SELECT count(*) FROM migration_log l WHERE l.run = h.run)
FROM by_hand h JOIN by_migration m USING (run)
"""

FORKS = r"^fy_[0-9a-f]{8}_f[0-9]+$"


class NoDispatcher:
    """This process sends nothing itself: Celery's state is global, and other tests have their own broker."""

    def __init__(self, settings: Settings) -> None:
        del settings

    def start(self, experiment_id: int, run_ids: Sequence[str]) -> None:
        raise QueueUnavailable

    def resume(self, run_id: str, continuation: str | None, *, steps_done: int) -> None:
        raise QueueUnavailable

    def summarise(self, experiment_id: int) -> None:
        raise QueueUnavailable

    def check(self) -> Iterable[Finding]:
        return ()


class QuietInstallation(Installation):
    @property
    def settings(self) -> Settings:
        return super().settings.model_copy(update={"dispatcher": f"{__name__}:NoDispatcher"})


@dataclass(frozen=True, slots=True)
class Batch:
    """A submitted experiment."""

    handle: str
    project: str
    target: str
    promote: str


class Arena:
    """One installation, and the words in which tests hurt it."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        self.installation = QuietInstallation(folder)
        self.seed = seed
        self.random = random.Random(seed)
        self._admin: psycopg.Connection[Any] | None = None

    # What users do

    def project(self, name: str, **limits: Any) -> str:
        return self.installation.add_project(name, target_sql=TARGET, **{"max_parallel": 4, **limits})

    def submit(self, name: str, *, promote: str = "all", nap: float = 0.8, **keys: Any) -> Batch:
        """Send eight runs of the counting agent to a project of their own, four at a time."""
        target = self.project(name)
        path = self.experiment(name, promote=promote, nap=nap, **keys)
        done = self.installation.json("submit", str(path))
        assert not done["warning"], done
        return Batch(handle=done["experiment"], project=name, target=target, promote=promote)

    def experiment(self, name: str, *, promote: str, nap: float, **keys: Any) -> Path:
        folder = self.installation.folder / name
        (folder / "agents").mkdir(parents=True)
        (folder / "agents" / "agent.py").write_text(AGENT, encoding="utf-8")
        command = {"agent": {"command": [sys.executable, "agent.py", str(nap)]}}
        spec: dict[str, Any] = {
            "experiment": name,
            "project": name,
            "repeats": 4,
            "parallel": 4,
            "promote": promote,
            "timeout": "30s",
            "seed": 7,
            "files": "agents/",
            "metrics": {"counted": "SELECT sum(times) FROM by_hand"},
            "variants": {"one": command, "two": command},
            **keys,
        }
        if promote == "best":
            spec["best_by"] = ["counted"]
        path = folder / "experiment.yaml"
        path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
        return path

    # What happens to it

    def kill_group(self, service: str) -> None:
        """The worker and all its pool processes at once, as when its host loses power."""
        pids = [self.installation.pid(service), *self.installation.children(service)]
        for pid in pids:
            _signal(pid, signal.SIGKILL)

    def kill_children(self, service: str, *, times: int, pause: tuple[float, float]) -> int:
        """SIGKILL pool processes picked at random, at random moments; how many died."""
        killed = 0
        for _ in range(times):
            time.sleep(self.random.uniform(*pause))
            children = self.installation.children(service)
            if children:
                killed += _signal(self.random.choice(children), signal.SIGKILL)
        return killed

    def start(self, name: str, *arguments: str) -> int:
        """One more Celery process beside those that the installation starts."""
        settings = self.installation.settings
        environment = {**os.environ, "FORKYARD_CONFIG": str(self.installation.config)}
        argv = [sys.executable, "-m", "celery", "-A", "workers.app", *arguments]
        folder = self.installation.folder
        status = stack_of(settings).start(name, argv, env=environment, cwd=folder, bound_to_caller=True)
        assert status.pid is not None
        return status.pid

    def python(self, script: str, *arguments: str) -> None:
        """Run a script as one of the installation's own processes."""
        environment = {**os.environ, "FORKYARD_CONFIG": str(self.installation.config)}
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=environment,
            cwd=Path.cwd(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr

    # What can be seen

    @property
    def store(self) -> Any:
        return self.installation.context.store

    def experiment_row(self, batch: Batch) -> ExperimentRow:
        row: ExperimentRow = self.store.experiments.by_handle(batch.handle)
        return row

    def runs(self, batch: Batch) -> list[Run]:
        found: list[Run] = self.store.runs.of_experiment(self.experiment_row(batch).id)
        return found

    def registry(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the registry directly."""
        conninfo = self.installation.settings.registry.conninfo()
        options = "-c search_path=forkyard_registry -c statement_timeout=10s"
        with psycopg.connect(conninfo, autocommit=True, options=options) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def admin(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the server as its superuser."""
        with psycopg.connect(self.installation.admin_url, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def counts(self, batch: Batch) -> dict[str, tuple[int, ...]]:
        with psycopg.connect(batch.target) as target:
            return {row[0]: tuple(row[1:]) for row in target.execute(COUNTS)}

    def markers(self, batch: Batch) -> dict[str, str]:
        with psycopg.connect(batch.target) as target:
            rows = target.execute("SELECT run_id, outcome FROM forkyard.merges").fetchall()
        assert len(rows) == len({run for run, _ in rows})
        return {run: outcome for run, outcome in rows if run.startswith(f"{batch.handle}/")}

    def wait(self, holds: Callable[[], Any], within: float, what: str, batch: Batch | None = None) -> Any:
        """What `holds` gives once it is true; the registry may be away for a while."""
        deadline = time.monotonic() + within
        while True:
            with suppress(psycopg.OperationalError, *_AWAY):
                if found := holds():
                    return found
            if time.monotonic() > deadline:
                self.fail(f"waited {within:g} s for {what}", batch)
            time.sleep(0.03)

    def in_step(self, batch: Batch, state: RunState, *, count: int = 1, within: float = 30) -> list[Run]:
        """Runs that a worker is at in that state, as soon as there are `count`."""

        def found() -> list[Run]:
            runs = [run for run in self.runs(batch) if run.state is state and run.owner is not None]
            if state is RunState.RUNNING:
                runs = [run for run in runs if run.process_group is not None]
            return runs if len(runs) >= count else []

        return list(self.wait(found, within, f"{count} runs to be {state}", batch))

    # What must hold

    def finished(self, batch: Batch, *, within: float = 45) -> list[Run]:
        """The runs once all are over (or held) and the experiment is finished."""

        def over() -> bool:
            done = all(run.state in TERMINAL or run.state is RunState.HELD for run in self.runs(batch))
            return done and self.experiment_row(batch).finished_at is not None

        self.wait(over, within, f"{batch.handle} to finish", batch)
        return self.runs(batch)

    def check(self, batch: Batch, *, within: float = 45) -> Counter[str]:
        """All invariants, at the end of a batch; how many runs ended in each state."""
        self.finished(batch, within=within)
        self._merged_once(batch)
        for run in self.runs(batch):
            if run.state is RunState.HELD:
                self.installation.json("discard", run.id)
        self._merged_once(batch)
        runs = self.runs(batch)
        self._told_once(batch, runs)
        self._nothing_left(batch)
        return Counter(run.state.value for run in runs)

    def _merged_once(self, batch: Batch) -> None:
        """The registry, the marker and the data tell the same, and no merge took place twice."""
        merged = {run.id for run in self.runs(batch) if run.state is RunState.MERGED}
        marked = {run_id for run_id, outcome in self.markers(batch).items() if outcome == "merged"}
        counts = self.counts(batch)
        expected = {name: (1, 1, 1, 1) if f"{batch.handle}/{name}" in marked else (0, 0, 0, 0) for name in RUNS}
        if merged != marked or counts != expected:
            wrong = {name: counts[name] for name in RUNS if counts[name] != expected[name]}
            self.fail(f"merged {sorted(merged)}, marked {sorted(marked)}, counted wrongly {wrong}", batch)
        if batch.promote == "best":
            assert len(merged) <= 1

    def _told_once(self, batch: Batch, runs: list[Run]) -> None:
        """One end for each run, no claim, slot or attempt left open; one decision and one end of the experiment."""
        experiment = self.experiment_row(batch)
        ends = self.registry(
            "SELECT e.run_id, count(*) FROM events e JOIN runs r ON r.id = e.run_id"
            " WHERE r.experiment_id = %s AND e.kind IN ('merged', 'discarded', 'failed', 'cancelled') GROUP BY 1",
            experiment.id,
        )
        open_attempts = self.registry(
            "SELECT a.run_id, a.step FROM step_attempts a JOIN runs r ON r.id = a.run_id"
            " WHERE r.experiment_id = %s AND a.finished_at IS NULL",
            experiment.id,
        )
        busy = [run.id for run in runs if run.slot_held or run.owner or run.parked_at or run.process_group]
        if dict(ends) != {run.id: 1 for run in runs} or open_attempts or busy:
            self.fail(f"ends {dict(ends)}, open attempts {open_attempts}, busy {busy}", batch)
        if batch.promote == "best":
            merged = [run.id for run in runs if run.state is RunState.MERGED]
            assert experiment.best_run in (merged[0] if merged else None, experiment.best_run)
        assert experiment.summary

    def _nothing_left(self, batch: Batch) -> None:
        """One sweep, then seconds: no fork, role, folder, process, lock, session; every receipt closed."""
        self.installation.json("sweep")
        left: dict[str, Any] = {}

        def clean() -> bool:
            left.clear()
            left.update(self._left(batch))
            return not any(left.values())

        deadline = time.monotonic() + 14
        while not clean():
            if time.monotonic() > deadline:
                self.fail(f"left behind: { {what: found for what, found in left.items() if found} }", batch)
            time.sleep(0.2)

    def _left(self, batch: Batch) -> dict[str, Any]:
        return {
            **self.installation.leftovers(),
            "processes": agents_of(batch.handle, self.installation.folder),
            "locks": self.admin(
                "SELECT a.application_name, a.query FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                " WHERE l.locktype = 'advisory' AND a.xact_start < now() - interval '3 seconds'"
            ),
            "sessions": self.admin("SELECT datname, state FROM pg_stat_activity WHERE datname ~ %s", FORKS),
            "receipts": self.registry(
                "SELECT e.name, e.state, r.kind FROM environments e LEFT JOIN resources r ON r.environment_id = e.id"
                " JOIN runs u ON u.id = e.run_id JOIN experiments x ON x.id = u.experiment_id"
                " WHERE x.handle = %s AND (e.state <> 'released' OR r.gone_at IS NULL)",
                batch.handle,
            ),
        }

    def fail(self, why: str, batch: Batch | None) -> NoReturn:
        """Fails the test with all that helps to see why; the seed repeats the random choices."""
        lines = [f"{why} (FORKYARD_CHAOS_SEED={self.seed})"]
        with suppress(psycopg.Error, *_AWAY):
            lines += self._history(batch) if batch else []
        for log in sorted((self.installation.settings.state_dir / "stack" / "logs").glob("*.log")):
            lines += [f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-40:]]
        raise AssertionError("\n".join(lines))

    def _history(self, batch: Batch) -> list[str]:
        lines = [
            f"{run.id}: {run.state} {run.steps_done}/6 epoch {run.epoch} tries {run.step_tries} owner {run.owner}"
            f" lease {run.lease_until:%H:%M:%S} parked {run.parked_at is not None} – {run.reason}"
            for run in self.runs(batch)
        ]
        lines += [str(self.experiment_row(batch))]
        rows = self.registry(
            "SELECT run_id, epoch, step, started_at::time(0), finished_at::time(0), outcome, reason FROM step_attempts"
            " WHERE run_id LIKE %s AND outcome IS DISTINCT FROM 'done' ORDER BY started_at",
            f"{batch.handle}/%",
        )
        rows += self.registry(
            "SELECT run_id, at::time(0), kind, detail FROM events WHERE run_id LIKE %s AND kind <> 'state' ORDER BY id",
            f"{batch.handle}/%",
        )
        rows += self.registry("SELECT name, state, purpose, kept, reason, run_id FROM environments WHERE state <> 'released'")
        return lines + [" ".join(map(str, row)) for row in rows]


def agents_of(handle: str, folder: Path) -> list[str]:
    """Command lines of living processes that were started for runs of that experiment, in that installation."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            known = (entry / "environ").read_bytes()
            if f"FORKYARD_RUN_ID={handle}/".encode() in known and f"{folder}/".encode() in known:
                found.append(f"{entry.name}: {(entry / 'cmdline').read_bytes().decode(errors='replace')}")
    return found


def owner_pid(run: Run) -> int:
    """The pool process that holds the run's claim."""
    assert run.owner is not None
    return int(run.owner.rsplit(":", 2)[1])


def _signal(pid: int, number: signal.Signals) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def dumps(value: Any) -> str:
    return json.dumps(value)


def _away() -> tuple[type[Exception], ...]:
    from orchestrator.errors import RegistryUnavailable

    return (RegistryUnavailable,)


_AWAY = _away()
