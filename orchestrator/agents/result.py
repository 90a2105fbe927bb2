"""What an agent says about its own run: the file that FORKYARD_RESULT names."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import AgentError

RESULT_LIMIT_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentResult:
    """An agent's own metrics and notes; both empty where it wrote none."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    notes: str = ""


def read_result(path: Path) -> AgentResult:
    """Read `{"metrics": {name: number}, "notes": text}`; a missing or empty file is an empty result.

    Other keys are ignored. Raises AgentError for a file that is no plain file, larger than a megabyte, not JSON, or
    of another shape. Links are not followed: the file is the agent's, the eyes that read it are the worker's.
    """
    raw = _read(path)
    if not raw.strip():
        return AgentResult()
    try:
        content = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as exc:
        raise AgentError(f"The agent's result file is not valid JSON: {_where(exc)}.") from exc
    if not isinstance(content, dict):
        raise AgentError('The agent\'s result file must hold an object such as {"metrics": {"score": 1}}.')
    notes = content.get("notes") or ""
    if not isinstance(notes, str):
        raise AgentError("The `notes` in the agent's result file must be text.")
    return AgentResult(metrics=_metrics(content.get("metrics") or {}), notes=notes.replace("\x00", "\ufffd"))


def _read(path: Path) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    except OSError as exc:
        raise AgentError(f"The agent's result file cannot be read: {exc.strerror}.") from exc
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise AgentError("The agent's result file is not a plain file.")
    with os.fdopen(fd, "rb") as file:
        raw = file.read(RESULT_LIMIT_BYTES + 1)
    if len(raw) > RESULT_LIMIT_BYTES:
        raise AgentError("The agent's result file is larger than 1 MB; keep metrics and short notes in it.")
    return raw


def _metrics(given: object) -> dict[str, float]:
    if not isinstance(given, dict):
        raise AgentError("The `metrics` in the agent's result file must be an object of names and numbers.")
    metrics: dict[str, float] = {}
    for name, value in given.items():
        try:
            number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise AgentError(f"The metric {name!r} in the agent's result file is {str(value)[:40]!r}, not a number.")
        metrics[name] = number
    return metrics


def _where(exc: Exception) -> str:
    if isinstance(exc, json.JSONDecodeError):
        return f"{exc.msg} at line {exc.lineno}, column {exc.colno}"
    return "it is nested too deeply" if isinstance(exc, RecursionError) else "it is not UTF-8 text"
