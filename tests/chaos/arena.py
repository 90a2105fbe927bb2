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
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import redis
import yaml

from orchestrator.app.embedded import stack_of
from orchestrator.errors import QueueUnavailable, RegistryUnavailable
from orchestrator.pgtools import find_pg_tools
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
run=${FORKYARD_RUN_ID#*/}
# What an agent leaves running must end with it, whatever becomes of its worker.
setsid sleep 600 >/dev/null 2>&1 &
"$PSQL" -qX "$DATABASE_URL" -c "UPDATE by_hand SET times = times + 1 WHERE run = '$run'" \\
  -c "INSERT INTO hand_log VALUES ('$run')" || exit 1
echo "UPDATE by_migration SET times = times + 1 WHERE run = '$run'" > "$FORKYARD_MIGRATIONS_DIR/1.sql"
echo "INSERT INTO migration_log VALUES ('$run')" > "$FORKYARD_MIGRATIONS_DIR/2.sql"
sleep "$1"
"""
"""In shell, so that eight of them cost little: the chaos is meant for the workers."""

COUNTS = """
SELECT run, h.times, m.times,
       (SELECT count(*) FROM hand_log l WHERE l.run = h.run),
       (SELECT count(*) FROM migration_log l WHERE l.run = h.run)
FROM by_hand h JOIN by_migration m USING (run)
"""

FORKS = r"^fy_[0-9a-f]{8}_f[0-9]+$"


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
        self._desk: subprocess.Popen[str] | None = None

    # What users do

    def project(self, name: str, **limits: Any) -> str:
        return self.installation.add_project(name, target_sql=TARGET, **{"max_parallel": 4, **limits})

    def submit(self, name: str, *, promote: str = "all", nap: float = 0.8, only: str = "", **keys: Any) -> Batch:
        """Send eight runs of the counting agent to a project of their own, four at a time (fewer with `only` one of
        its two variants, and with `repeats`)."""
        target = self.project(name)
        path = self.experiment(name, promote=promote, nap=nap, **keys)
        handle = self.ask("submit", str(path), only)
        return Batch(handle=handle, project=name, target=target, promote=promote)

    def ask(self, *command: str) -> Any:
        """Give a command to the desk, and get what it answers. Fails where the command does."""
        if self._desk is None:
            self._desk = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.desk"],
                env={**os.environ, "FORKYARD_CONFIG": str(self.installation.config)},
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

    def close(self) -> None:
        if self._desk is not None:
            self._desk.communicate()
        self.installation.stop()

    def experiment(self, name: str, *, promote: str, nap: float, **keys: Any) -> Path:
        folder = self.installation.folder / name
        (folder / "agents").mkdir(parents=True)
        (folder / "agents" / "agent.sh").write_text(AGENT, encoding="utf-8")
        psql = str(find_pg_tools().psql)
        variant = {"agent": {"command": ["sh", "agent.sh", str(nap)]}, "environment": {"PSQL": psql}}
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
            "variants": {"one": variant, "two": variant},
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
        self.gone(pids)

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

    def stop(self, *names: str) -> None:
        """End what `start` started."""
        for name in names:
            stack_of(self.installation.settings).stop(name)

    def kill(self, *services: str) -> None:
        """SIGKILL to the main process of each, and wait until it is gone."""
        pids = [self.installation.pid(service) for service in services]
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        self.gone(pids)

    def gone(self, pids: Iterable[int]) -> None:
        """Wait for the end of processes: what is started while they are dying would be taken for running."""
        self.wait(lambda: not any(map(_runs, pids)), 10, "killed processes to be gone")

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

    def idle(self) -> None:
        """Wait until every message that was sent has been dealt with."""
        with redis.Redis.from_url(stack_of(self.installation.settings).valkey_url()) as client:

            def quiet() -> bool:
                return not any(client.llen(key) for key in client.scan_iter("*", _type="list"))

            self.wait(quiet, 30, "the queues to be empty")
        self.wait(lambda: not self.registry("SELECT 1 FROM runs WHERE owner IS NOT NULL"), 30, "the workers to rest")
        time.sleep(0.5)

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
                self.ask("discard", run.id)
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
            assert merged in ([], [experiment.best_run])
        assert experiment.summary

    def _nothing_left(self, batch: Batch) -> None:
        """One sweep, then seconds: no fork, role, folder, process, lock, session; every receipt closed."""
        self.ask("sweep")
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
        others = {
            name
            for (name,) in self.registry(
                "SELECT e.name FROM environments e JOIN runs r ON r.id = e.run_id JOIN experiments x"
                " ON x.id = r.experiment_id WHERE x.handle <> %s",
                batch.handle,
            )
        }
        found = self.installation.leftovers()
        return {
            **{kind: [name for name in names if name not in others] for kind, names in found.items()},
            "processes": agents_of(batch.handle, self.installation.folder),
            "locks": self.admin(
                "SELECT a.application_name, a.query FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                " WHERE l.locktype = 'advisory' AND a.xact_start < now() - interval '3 seconds'"
            ),
            "sessions": [
                row
                for row in self.admin("SELECT datname, state FROM pg_stat_activity WHERE datname ~ %s", FORKS)
                if row[0] not in others
            ],
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
            told = [
                line
                for line in log.read_text(errors="replace").splitlines()
                if "WARN" in line.upper() or "ERROR" in line.upper()
            ]
            lines += [f"--- {log.name}", *(line[:300] for line in told[-12:] if "vacuum" not in line)]
        raise AssertionError("\n".join(lines))

    def _history(self, batch: Batch) -> list[str]:
        lines = [
            f"{run.id}: {run.state} {run.steps_done}/6 epoch {run.epoch} tries {run.step_tries} owner {run.owner}"
            f" lease {run.lease_until:%H:%M:%S} parked {run.parked_at is not None} – {run.reason}"
            for run in self.runs(batch)
        ]
        experiment = self.experiment_row(batch)
        lines.append(f"finished {experiment.finished_at}, best {experiment.best_run}, {experiment.summary}")
        rows = self.registry(
            "SELECT run_id, epoch, step, started_at::time(0), finished_at::time(0), outcome, reason FROM step_attempts"
            " WHERE run_id LIKE %s AND outcome IS DISTINCT FROM 'done' ORDER BY started_at",
            f"{batch.handle}/%",
        )
        rows += self.registry(
            "SELECT run_id, at::time(0), kind, detail FROM events WHERE run_id LIKE %s AND kind <> 'state' ORDER BY id",
            f"{batch.handle}/%",
        )
        rows += self.registry(
            "SELECT name, state, purpose, kept, reason, run_id FROM environments WHERE state <> 'released'"
        )
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


def _runs(pid: int) -> bool:
    with suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _signal(pid: int, number: signal.Signals) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


_AWAY = (RegistryUnavailable,)
