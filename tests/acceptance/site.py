"""What acceptance tests share: one installation with workers and Flower, and words for what a user does with it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import yaml

from orchestrator.app import views
from orchestrator.app.submit import submit
from orchestrator.cli.main import main
from orchestrator.runs import RESTING, TERMINAL, RunState
from orchestrator.store import Run
from tests.installation import Installation

SETTINGS = """
[worker]
lease_seconds = 6
heartbeat_seconds = 1
dispatch_seconds = 3
log_limit_bytes = 100000
workspace_limit_bytes = 2000000
process_limit = 40
[sweeps]
rescue_every_seconds = 2
pool_every_seconds = 2
expire_every_seconds = 5
"""
"""Short leases and small limits: what takes minutes in production takes seconds here."""

PASSED_ON = "ACCEPTANCE_API_KEY"
"""A variable of the workers that experiments pass to their agents by name."""

_EDIT = """
import os, sys, psycopg
with psycopg.connect(os.environ["DATABASE_URL"]) as fork:
    fork.execute(sys.argv[1])
"""


def edit(statement: str) -> dict[str, Any]:
    """An agent that changes rows itself."""
    return {"agent": {"command": ["python", "-c", _EDIT, statement]}}


def migrate(*statements: str) -> dict[str, Any]:
    """An agent that writes migrations, one a statement."""
    files = [f"cat > $FORKYARD_MIGRATIONS_DIR/{n:03}.sql <<'END'\n{sql};\nEND" for n, sql in enumerate(statements)]
    return shell("\n".join(files))


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"agent": {"command": ["sh", "-c", script]}, **more}


def python(script: str, *arguments: str, **more: Any) -> dict[str, Any]:
    return {"agent": {"command": ["python", "-c", script, *arguments]}, **more}


def behind(gate: Path, then: str = "true") -> dict[str, Any]:
    """An agent that waits until the test opens its gate: `gate.touch()`."""
    return shell(f"while [ ! -e {gate} ]; do sleep 0.1; done; {then}")


class Done(NamedTuple):
    """A command's end."""

    code: int
    out: str
    err: str


class Site:
    """The shared installation. Tests use projects and experiments of their own names, and so do not meet."""

    def __init__(self, installation: Installation, *, passed_on: str) -> None:
        self.installation = installation
        self.passed_on = passed_on
        self.targets: dict[str, str] = {}

    def project(self, name: str, **limits: Any) -> str:
        """A project of that name with a target and a baseline, made when first asked for; the owner's URL."""
        if name not in self.targets:
            self.targets[name] = self.installation.add_project(name, **limits)
        return self.targets[name]

    def experiment(self, name: str, variants: Mapping[str, Any], *, project: str, **keys: Any) -> Path:
        """Write an experiment file in a folder of its own."""
        path = self.installation.folder / "experiments" / name / "experiment.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        usual = {"timeout": "60s", "keep_failed_forks": False}
        spec = {"experiment": name, "project": project, **usual, **keys, "variants": dict(variants)}
        path.write_text(yaml.safe_dump(spec, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return path

    def process(self, *arguments: str | Path, config: Path | None = None) -> Done:
        """Run `forkyard …` as a process of its own, as a user does."""
        chosen = ["--config", str(config)] if config else []
        done = self.installation.cli(*chosen, *map(str, arguments))
        return Done(done.returncode, done.stdout, done.stderr)

    def forkyard(self, *arguments: str | Path, config: Path | None = None) -> Done:
        """The same within this process, which takes a tenth of the time."""
        words = ["--config", str(config or self.installation.config), *map(str, arguments)]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(words)
        return Done(code, out.getvalue(), err.getvalue())

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        """What a command prints with `--json`; it must end with that exit code."""
        done = self.forkyard(*arguments, "--json")
        assert done.code == code, f"{arguments} ended with {done.code}: {done.out}{done.err}"
        return json.loads(done.out)

    def submit(self, path: Path) -> str:
        """Send the experiment from this process, as `forkyard submit` does; its handle."""
        submitted = submit(self.installation.context, path)
        assert not submitted.warning
        return submitted.experiment.handle

    def run(self, path: Path) -> dict[str, Run]:
        """Submit and wait for the end; the runs by `variant#repeat`."""
        return self.finished(self.submit(path))

    def runs(self, handle: str) -> dict[str, Run]:
        store = self.installation.context.store
        found = store.runs.of_experiment(store.experiments.by_handle(handle).id)
        return {run.id.partition("/")[2]: run for run in found}

    def finished(self, handle: str, *, within: float = 60) -> dict[str, Run]:
        """The runs once the experiment is finished, which means that its summary has been written."""
        store = self.installation.context.store
        wait_until(lambda: store.experiments.by_handle(handle).finished_at is not None, within, f"{handle} to finish")
        runs = self.runs(handle)
        for name, run in runs.items():
            print(f"{handle}/{name}: {run.state} – {run.reason}")  # shown by pytest where a test fails
        assert all(run.state in TERMINAL | RESTING for run in runs.values())
        return runs

    def in_state(self, handle: str, state: RunState, *, count: int = 1, within: float = 60) -> None:
        wait_until(
            lambda: sum(run.state is state for run in self.runs(handle).values()) >= count,
            within,
            f"{count} runs of {handle} to be {state}",
        )

    @property
    def registry(self) -> str:
        return self.installation.settings.registry.conninfo()

    def query(self, conninfo: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def receipt(self, runs: Sequence[str]) -> list[dict[str, Any]]:
        return views.receipt(self.installation.context, runs)

    def at_provider(self, kind: str = "fork") -> set[str]:
        """What the fork host really has of this installation."""
        name = "^fy_[0-9a-f]{8}_" + kind[0]
        rows = self.query(
            self.installation.admin_url,
            "SELECT datname FROM pg_database WHERE datname ~ %s UNION SELECT rolname FROM pg_roles WHERE rolname ~ %s",
            name + "[0-9]",
            name + "[0-9]",
        )
        return {row[0] for row in rows}

    def assert_gone(self, runs: Sequence[str], *, within: float = 30) -> None:
        """Everything that the runs created is gone: by the receipt, at the provider and on the disk."""
        deadline = time.monotonic() + within
        while (left := [line for line in self.receipt(runs) if not line["gone_at"]]) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not left, f"still there after {within:g} s: {left}"
        names = {line["name"] for line in self.receipt(runs)}
        assert not names & self.at_provider()
        assert not [name for name in names if ":" in name and Path(name.partition(":")[2]).exists()]


def wait_until(holds: Callable[[], bool], within: float, what: str) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"waited {within:g} s for {what}"
        time.sleep(0.1)


def processes_with(text: str) -> dict[int, str]:
    """Processes whose command line or environment holds the text, by pid; this process and its parents not counted."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) in (os.getpid(), os.getppid()):
            continue
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
            known = words + b" " + (folder / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in known:
            found[int(folder.name)] = words.decode(errors="replace")
    return found
