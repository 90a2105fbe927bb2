"""The experiment file: what to run, how often, against which baseline, and what decides.

`load.load` reads and checks a file; `Experiment.to_json` is the normalised form that is stored, free of secrets and
of machine paths; `Experiment.from_json` reads that form back without looking at any file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from orchestrator.errors import SpecError
from orchestrator.experiments.problems import near_miss
from orchestrator.experiments.values import (
    MAX_SEED,
    Argv,
    BaselineChoice,
    BestBy,
    FilledText,
    Ordered,
    Seconds,
    Switch,
    Text,
    matching,
    shown,
    whole,
    wrong,
)
from orchestrator.runs import Promote

NAME_PATTERN = r"[a-z0-9][a-z0-9-]{0,39}"
NAME_WORDS = "1 to 40 of a-z, 0-9 and '-', beginning with a letter or digit"
DEFAULT_TIMEOUT_SECONDS = 600.0


class AgentKind(StrEnum):
    COMMAND = "command"
    CALLABLE = "callable"
    SQL = "sql"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EnvironmentReference(_Model):
    """Passes one of the worker's own variables by name, so that its value never is in a file."""

    env: Annotated[str, matching(r"[A-Za-z_][A-Za-z0-9_]{0,127}", "the name of an environment variable")]


def _promote(value: object) -> Promote:
    choices = [choice.value for choice in Promote]
    if isinstance(value, str) and value in choices:
        return Promote(value)
    raise wrong(f"must be one of {', '.join(choices)}, not {shown(value)}{near_miss(value, choices)}")


def _environment_value(value: object) -> str | EnvironmentReference:
    if isinstance(value, EnvironmentReference | str):
        return value
    if isinstance(value, dict) and set(value) == {"env"}:
        try:
            return EnvironmentReference.model_validate(value)
        except ValidationError:
            raise wrong(f"must name an environment variable after 'env', not {shown(value['env'])}") from None
    hint = "; put it in quotes" if isinstance(value, bool | int | float) else ""
    raise wrong(f"must be text or {{env: NAME}}, not {shown(value)}{hint}")


EnvironmentValue = Annotated[str | EnvironmentReference, BeforeValidator(_environment_value)]


class Agent(_Model):
    """Whatever does the work: exactly one of its fields is set."""

    command: Argv | None = None
    callable: (
        Annotated[str, matching(r"[A-Za-z_][\w.]{0,199}:[A-Za-z_][\w.]{0,99}", "module:function, such as agents:quick")]
        | None
    ) = None
    sql: FilledText | None = None

    @property
    def kind(self) -> AgentKind:
        return next(kind for kind in AgentKind if getattr(self, kind.value) is not None)

    @property
    def words(self) -> str:
        """The agent in one line, for people."""
        if self.command is not None:
            return " ".join(self.command)
        return str(self.callable or self.sql)


class Variant(_Model):
    """One agent configuration that is compared with the others."""

    agent: Agent
    parameters: Ordered[JsonValue] = Field(default_factory=dict)
    environment: Ordered[EnvironmentValue] = Field(default_factory=dict)
    timeout: Seconds | None = None


class Experiment(_Model):
    """A checked experiment. Times are in seconds; `parallel` None means: as many as the project allows."""

    FORMAT: ClassVar[int] = 1

    name: Annotated[str, matching(NAME_PATTERN, NAME_WORDS)] = Field(alias="experiment")
    project: Annotated[
        str, matching(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", "a project's name (letters, digits, '-', '_', '.')")
    ]
    baseline: BaselineChoice = "latest"
    task: Text = ""
    repeats: Annotated[int, whole(1, 1000)] = 1
    parallel: Annotated[int, whole(1, 64)] | None = None
    promote: Annotated[Promote, BeforeValidator(_promote)] = Promote.REVIEW
    timeout: Seconds = DEFAULT_TIMEOUT_SECONDS
    seed: Annotated[int, whole(0, MAX_SEED)] = 0
    files: FilledText | None = None
    keep_failed_forks: Switch = True
    metrics: Ordered[FilledText] = Field(default_factory=dict)
    checks: Ordered[FilledText] = Field(default_factory=dict)
    best_by: BestBy = ()
    variants: Ordered[Variant]

    def timeout_seconds(self, variant: str) -> float:
        """How long an agent of this variant may run."""
        own = self.variants[variant].timeout
        return self.timeout if own is None else own

    def files_folder(self, variant: str, *, beside: Path) -> Path | None:
        """The folder whose content becomes the workspace of this variant's runs, or None for an empty one:
        the `sql` folder of an sql agent, else `files`. `beside` is the folder of the experiment file."""
        named = self.variants[variant].agent.sql or self.files
        return beside / named if named else None

    def only(self, variants: Sequence[str]) -> Self:
        """The same experiment with some of its variants, in the file's order. Raises SpecError for an unknown one."""
        for name in variants:
            if name not in self.variants:
                known = list(self.variants)
                raise SpecError(
                    f"there is no variant '{name}' in experiment '{self.name}'"
                    f"{near_miss(name, known)}; its variants are {', '.join(known)}"
                )
        if not variants:
            return self
        return self.model_copy(
            update={"variants": {name: variant for name, variant in self.variants.items() if name in variants}}
        )

    def to_json(self) -> str:
        """Normalised and deterministic: equal experiments give equal text; order of variants is kept."""
        fields = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps({"format": self.FORMAT, **fields}, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The experiment that `to_json` wrote (keys in any order). Raises SpecError for anything else."""
        try:
            fields = json.loads(text)
            if not isinstance(fields, dict) or fields.pop("format", None) != cls.FORMAT:
                raise SpecError("the stored experiment has another format; was it written by a newer Forkyard?")
            return cls.model_validate(fields, context={"stored": True})
        except ValueError as exc:
            raise SpecError("the stored experiment cannot be read") from exc
