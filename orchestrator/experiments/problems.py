"""Turns what pydantic found into one sentence for a person, with the line and a suggestion."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from orchestrator.errors import SpecError
from orchestrator.experiments.values import shown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from orchestrator.experiments.document import Document, ValuePath

_COMMON_SLIPS = {
    "name": "experiment",
    "agents": "variants",
    "repeat": "repeats",
    "runs": "repeats",
    "concurrency": "parallel",
    "workers": "parallel",
    "prompt": "task",
    "env": "environment",
    "cmd": "command",
    "function": "callable",
    "params": "parameters",
    "args": "parameters",
    "migrations": "sql",
    "time_limit": "timeout",
}


def near_miss(value: object, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where something known is close, else nothing."""
    known = list(known)
    text = str(value)
    close = difflib.get_close_matches(text.lower(), known, n=1, cutoff=0.6)
    if not close and _COMMON_SLIPS.get(text.lower()) in known:
        close = [_COMMON_SLIPS[text.lower()]]
    return f"; did you mean '{close[0]}'?" if close else ""


def dotted(path: ValuePath) -> str:
    """`variants.careful.agent.command` for messages; list positions count from 1."""
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in path)


def first_problem(exc: ValidationError, document: Document, root: type[BaseModel]) -> SpecError:
    """The mistake that stands first in the file; an unknown key counts before a missing one (it often is its cause)."""
    errors = sorted(exc.errors(), key=lambda error: (document.line(_path(error)), error["type"] == "missing"))
    unknown = [error for error in errors if error["type"] == "extra_forbidden"]
    error = errors[0]
    if error["type"] == "missing" and unknown:
        error = unknown[0]
    path = _path(error)
    return document.error(path, _sentence(error, path, root))


def _path(error: ErrorDetails) -> ValuePath:
    return error["loc"]


def _sentence(error: ErrorDetails, path: ValuePath, root: type[BaseModel]) -> str:
    where, kind = dotted(path), error["type"]
    if kind == "extra_forbidden":
        known = known_keys(root, path[:-1])
        hint = near_miss(path[-1], known) or f"; the keys here are {', '.join(known)}"
        return f"unknown key '{where}'{hint}"
    if kind == "missing":
        return f"the key '{where}' is missing"
    if error.get("input") is None:
        return f"'{where}' has no value; give one or remove the key"
    if kind == "spec":
        return f"'{where}' {error['msg']}"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return f"'{where}' must hold 'key: value' lines, not {shown(error['input'])}"
    return f"'{where}' is not right: {error['msg'][:1].lower()}{error['msg'][1:]}"


def known_keys(root: type[BaseModel], path: ValuePath) -> list[str]:
    """The keys that the mapping at `path` can have, as the file spells them; none where any key may stand."""
    model: type[BaseModel] | None = root
    named = False  # the next part of the path is a name that the user chose, such as a variant's
    for part in path:
        if named:
            named = False
            continue
        fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()} if model else {}
        annotation = fields.get(str(part))
        model = _model_in(annotation)
        named = get_origin(annotation) is dict
    if model is None or named:
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation such as dict[str, Variant]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)
