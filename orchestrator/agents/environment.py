"""The variables that an agent gets, and the object that a Python agent reads them through."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from orchestrator.errors import AgentError, SettingsError

Variable = str | Mapping[str, str]
"""A value, or `{"env": "NAME"}`: the worker's own variable of that name."""

_RESERVED = ("DATABASE_URL", "REDIS_URL")
_RESERVED_PREFIX = "FORKYARD_"


def agent_environment(
    *,
    run_id: str,
    database_url: str,
    task: str,
    parameters: Mapping[str, object],
    seed: int | None,
    workspace: Path,
    migrations_dir: Path,
    result_path: Path,
    worker: Mapping[str, str],
    redis_url: str | None = None,
    gateway: tuple[str, str] | None = None,
    extra: Mapping[str, Variable] | None = None,
) -> dict[str, str]:
    """All the variables of one agent: those of the run, PATH and LANG of the worker, and what the variant names.

    `worker` is the worker's environment, of which nothing else is passed on; `gateway` is (URL, token). The
    folder that TMPDIR names, `tmp` in the workspace, is made here if it is missing.

    Raises SettingsError where the variant names a variable that the worker lacks, or one that is Forkyard's.
    """
    temporary = workspace / "tmp"
    temporary.mkdir(mode=0o700, exist_ok=True)
    variables = {
        "PATH": worker.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
        "LANG": worker.get("LANG", "C.UTF-8"),
        "HOME": str(workspace),
        "TMPDIR": str(temporary),
        **{name: _value(name, given, worker) for name, given in (extra or {}).items()},
        "DATABASE_URL": database_url,
        "FORKYARD_RUN_ID": run_id,
        "FORKYARD_TASK": json.dumps({"task": task, "parameters": dict(parameters), "seed": seed}),
        "FORKYARD_MIGRATIONS_DIR": str(migrations_dir),
        "FORKYARD_RESULT": str(result_path),
    }
    if redis_url is not None:
        variables["REDIS_URL"] = redis_url
    if gateway is not None:
        variables["FORKYARD_GATEWAY"], variables["FORKYARD_GATEWAY_TOKEN"] = gateway
    return variables


def _value(name: str, given: Variable, worker: Mapping[str, str]) -> str:
    if name in _RESERVED or name.startswith(_RESERVED_PREFIX):
        raise SettingsError(f"The variant sets the variable {name}, which is Forkyard's to set; give it another name.")
    if not name or "=" in name or "\0" in name:
        raise SettingsError(f"The variant sets a variable {name!r}, which no program can have.")
    if isinstance(given, str):
        return given
    source = given.get("env", "")
    if source not in worker:
        raise SettingsError(
            f"The variant passes on the worker's variable {source!r} as {name}, but this worker does not have it; "
            "set it where the worker is started."
        )
    return worker[source]


@dataclass(slots=True, kw_only=True)
class Environment:
    """What a Python agent is called with: its database, its task, its folders, and a way to report."""

    run_id: str
    database_url: str = field(repr=False)
    """The fork of this run: a libpq URL, password included."""
    redis_url: str | None = field(repr=False)
    task: str
    parameters: dict[str, object]
    seed: int | None
    workspace: Path
    migrations_dir: Path
    """`*.sql` files written here are applied, in the order of their names, after the agent has ended."""
    result_path: Path
    _metrics: dict[str, float] = field(default_factory=dict)
    _notes: list[str] = field(default_factory=list)

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> Self:
        """Read the variables that `agent_environment` makes. Raises AgentError where one is missing."""
        try:
            task = json.loads(variables["FORKYARD_TASK"])
            return cls(
                run_id=variables["FORKYARD_RUN_ID"],
                database_url=variables["DATABASE_URL"],
                redis_url=variables.get("REDIS_URL"),
                task=task["task"],
                parameters=task["parameters"],
                seed=task["seed"],
                workspace=Path.cwd(),
                migrations_dir=Path(variables["FORKYARD_MIGRATIONS_DIR"]),
                result_path=Path(variables["FORKYARD_RESULT"]),
            )
        except KeyError as exc:
            raise AgentError(f"{exc.args[0]} is not set: an agent runs inside of a run only.") from exc

    def report(self, **metrics: float) -> None:
        """Record metrics of the run, at once, so that they outlive a crash; a later value replaces an earlier one.

        Raises TypeError or ValueError for what is not a finite number.
        """
        for name, value in metrics.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"the metric {name!r} is {value!r}, which is not a number")
            if not math.isfinite(value):
                raise ValueError(f"the metric {name!r} is {value!r}, which cannot be compared")
        self._metrics.update(metrics)
        self._write()

    def note(self, text: str) -> None:
        """Add a line to the run's notes, for the people who read the results."""
        self._notes.append(text)
        self._write()

    def _write(self) -> None:
        unfinished = self.result_path.with_name(self.result_path.name + ".part")
        result = {"metrics": self._metrics, "notes": "\n".join(self._notes)}
        unfinished.write_text(json.dumps(result), encoding="utf-8")
        unfinished.replace(self.result_path)
