"""What the shape of an experiment file cannot tell: names that refer to each other, folders, SQL, secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.experiments.criteria import OWN_FACTS, PREFIXES, Criterion, is_undeclared
from orchestrator.experiments.folders import problem_with_folder, problem_with_program, problem_with_sql_folder
from orchestrator.experiments.problems import near_miss
from orchestrator.experiments.queries import problem_with_query
from orchestrator.secrets import redact

if TYPE_CHECKING:
    from orchestrator.experiments.document import Document, ValuePath
    from orchestrator.experiments.spec import Agent, Experiment, Variant

MAX_RUNS = 10_000
MAX_QUERIES = 200

Problem = tuple["ValuePath", str]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_QUERY_NAME = re.compile(r"[^\W_][\w .()%/-]{0,59}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_GIVEN_BY_FORKYARD = frozenset({"DATABASE_URL", "REDIS_URL", "PATH", "HOME", "TMPDIR", "LANG"})
_SECRET_NAME = re.compile(r"(?i)(password|passwd|pwd|secret|token|api_?key|private_?key|credential)s?$")


def check_meaning(experiment: Experiment, document: Document, *, beside: Path) -> None:
    """Raise SpecError for the first problem; `beside` is the folder that relative paths start from."""
    problems = [
        *_variants(experiment),
        *_queries(experiment),
        *_best_by(experiment),
        *_folders(experiment, beside),
    ]
    if problems:
        path, message = min(problems, key=lambda problem: document.line(problem[0]))
        raise document.error(path, message)


def _variants(experiment: Experiment) -> Iterator[Problem]:
    if not experiment.variants:
        yield ("variants",), "there is no variant; add one, such as 'first: {agent: {command: [python, agent.py]}}'"
    runs = len(experiment.variants) * experiment.repeats
    if runs > MAX_RUNS:
        product = f"{len(experiment.variants)} variants × {experiment.repeats} repeats"
        yield ("repeats",), f"{product} are {runs} runs; {MAX_RUNS} is the most"
    for name, variant in experiment.variants.items():
        if not _NAME.fullmatch(name):
            yield (
                ("variants", name),
                f"the variant name '{name[:60]}' must be 1 to 40 of a-z, 0-9 and '-'",
            )
        yield from _agent(name, variant.agent)
        yield from _environment(name, variant)
        for parameter, value in variant.parameters.items():
            if isinstance(value, str) and _is_secret(parameter, value):
                yield (
                    ("variants", name, "parameters", parameter),
                    f"parameter '{parameter}' looks like a secret, and parameters are stored; "
                    "pass it in 'environment' as {env: NAME}",
                )


def _agent(name: str, agent: Agent) -> Iterator[Problem]:
    path = ("variants", name, "agent")
    kinds = [kind for kind in ("command", "callable", "sql") if getattr(agent, kind) is not None]
    if not kinds:
        yield path, f"the agent of variant '{name}' needs one of command, callable, sql"
    if len(kinds) > 1:
        yield path, f"the agent of variant '{name}' has {' and '.join(kinds)}; keep one of them"
    if any(redact(word) != word for word in agent.command or ()):
        yield (
            (*path, "command"),
            f"the command of variant '{name}' holds a password; pass it in 'environment' as {{env: NAME}}",
        )


def _environment(name: str, variant: Variant) -> Iterator[Problem]:
    for key, value in variant.environment.items():
        path = ("variants", name, "environment", key)
        if not _VARIABLE.fullmatch(key):
            yield path, f"'{key[:60]}' cannot be the name of an environment variable; use letters, digits and '_'"
        elif key in _GIVEN_BY_FORKYARD or key.startswith("FORKYARD_"):
            yield path, f"'{key}' is set by Forkyard for every run; choose another name"
        elif not isinstance(value, str):
            if value.env.startswith("FORKYARD_"):
                yield path, f"'{value.env}' is Forkyard's own and never reaches an agent; name another variable"
        elif _is_secret(key, value):
            yield (
                path,
                f"'{key}' looks like a secret, and this file is stored; write {key}: {{env: {key}}} "
                "and set the variable where the worker runs",
            )


def _is_secret(name: str, value: str) -> bool:
    return bool(value) and (_SECRET_NAME.search(name) is not None or redact(value) != value)


def _queries(experiment: Experiment) -> Iterator[Problem]:
    for kind, queries in (("metrics", experiment.metrics), ("checks", experiment.checks)):
        if len(queries) > MAX_QUERIES:
            yield (kind,), f"there are {len(queries)} {kind}; {MAX_QUERIES} is the most"
        for name, query in queries.items():
            path, word = (kind, name), kind.removesuffix("s")
            if not _QUERY_NAME.fullmatch(name):
                yield path, f"the {word} name '{name[:60]}' must be 1 to 60 letters, digits, spaces and -._()%/"
            elif kind == "metrics" and (name in OWN_FACTS or name.startswith(PREFIXES)):
                yield path, f"the metric name '{name}' is Forkyard's own; choose another"
            problem = problem_with_query(query)
            if problem is not None:
                yield path, f"the SQL of {word} '{name}' {problem}"


def _best_by(experiment: Experiment) -> Iterator[Problem]:
    if experiment.promote.value == "best" and not experiment.best_by:
        missing = "'promote: best' needs 'best_by', such as best_by: [-duplicates] ('-' means: lower is better)"
        yield ("promote",), missing
    known = [*experiment.metrics, *OWN_FACTS]
    for position, text in enumerate(experiment.best_by):
        metric = Criterion.parse(text).metric
        if metric in experiment.metrics or is_undeclared(metric):
            continue
        hint = near_miss(metric, known) or f"; known are {', '.join(known)}, agent.<name> and changeset.<fact>"
        yield ("best_by", position), f"'best_by' names an unknown metric '{metric}'{hint}"


def _folders(experiment: Experiment, beside: Path) -> Iterator[Problem]:
    if experiment.files is not None:
        missing = list(problem_with_folder(("files",), "files", experiment.files, beside))
        yield from missing
        if not missing:
            for name, variant in experiment.variants.items():
                yield from problem_with_program(name, variant.agent, beside / experiment.files, experiment.files)
    for name, variant in experiment.variants.items():
        if variant.agent.sql is not None:
            yield from problem_with_sql_folder(name, variant.agent.sql, beside)
