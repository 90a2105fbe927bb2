"""The kinds of value in an experiment file: each one says in its own words what it wants.

A validator here raises `wrong(sentence)`; the sentence goes after the key's name: "must be …".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo
from pydantic_core import PydanticCustomError

_DURATION = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,3})?)\s*(?P<unit>ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}
LONGEST_SECONDS = 86_400.0
MAX_SEED = 2**63 - 1

Item = TypeVar("Item")


def wrong(sentence: str) -> PydanticCustomError:
    """What a validator raises: the sentence reaches the person as it is."""
    return PydanticCustomError("spec", "{sentence}", {"sentence": sentence})


def whole(low: int, high: int) -> BeforeValidator:
    """A whole number from `low` to `high`; `true` is none."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong(f"must be a whole number from {low} to {high}, not {shown(value)}")
        if not low <= value <= high:
            raise wrong(f"must be from {low} to {high}, not {shown(value)}")
        return value

    return BeforeValidator(check)


def matching(pattern: str, wanted: str) -> BeforeValidator:
    """Text that matches the whole pattern; `wanted` describes it."""
    compiled = re.compile(pattern)

    def check(value: object) -> str:
        if not isinstance(value, str):
            raise wrong(f"must be text ({wanted}), not {shown(value)}")
        if not compiled.fullmatch(value):
            raise wrong(f"must be {wanted}, not {shown(value)}")
        return value

    return BeforeValidator(check)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise wrong(f"must be text, not {shown(value)}" + _quote_hint(value))
    return value


def _filled(value: object) -> str:
    text = _text(value)
    if not text.strip():
        raise wrong("must not be empty")
    return text


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise wrong(f"must be true or false, not {shown(value)}")
    return value


def _seconds(value: object) -> float:
    """Seconds from a number (seconds) or text such as 90s, 5m, 1h."""
    wanted = "a time such as 90, 90s, 5m or 1h"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise wrong(f"must be {wanted}, not {shown(value)}")
    match = _DURATION.fullmatch(str(value).strip())
    if match is None:
        raise wrong(f"must be {wanted}, not {shown(value)}")
    seconds = float(match["number"]) * _SECONDS[match["unit"]]
    if not 0.1 <= seconds <= LONGEST_SECONDS:
        raise wrong(f"must be from 0.1 seconds to 24 hours, not {shown(value)}")
    return seconds


def _baseline(value: object) -> int | str:
    """`latest`, a number, or a label; text of digits is a number."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value < 2**31:
            raise wrong(f"must be 'latest', a number from 1, or a label, not {shown(value)}")
        return value
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,62}", value):
        return value
    raise wrong(f"must be 'latest', a number from 1, or a label, not {shown(value)}")


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        raise wrong(f"must be a list such as [{', '.join(value.split()) or 'python, agent.py'}], not one text")
    if not isinstance(value, list | tuple) or not value:
        raise wrong(f"must be a list such as [python, agent.py], not {shown(value)}")
    for position, word in enumerate(value, start=1):
        if not isinstance(word, str):
            raise wrong(f"word {position} must be text, not {shown(word)}" + _quote_hint(word))
    if not value[0].strip():
        raise wrong("must begin with a program, such as python")
    return tuple(value)


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise wrong(f"must be a list of metric names, such as [-duplicates], not {shown(value)}")
    return tuple(value)


def _from_pairs(value: object, info: ValidationInfo) -> object:
    """The stored form keeps order even where JSON objects do not: a list of [name, value]."""
    if isinstance(value, list) and (info.context or {}).get("stored"):
        return dict(value)
    if not isinstance(value, Mapping):
        raise wrong(f"must hold 'name: value' lines, not {shown(value)}")
    return value


def _to_pairs(value: dict[str, Any]) -> list[list[Any]]:
    return [[name, item] for name, item in value.items()]


def shown(value: object) -> str:
    """The value as a person wrote it, cut to 40 characters."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = str(value)
    text = text if len(text) <= 40 else text[:39] + "…"
    return f"'{text}'" if isinstance(value, str) else text


def _quote_hint(value: object) -> str:
    return "; put it in quotes" if isinstance(value, bool | int | float) else ""


Text = Annotated[str, BeforeValidator(_text)]
FilledText = Annotated[str, BeforeValidator(_filled)]
Switch = Annotated[bool, BeforeValidator(_switch)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
BaselineChoice = Annotated[int | str, BeforeValidator(_baseline)]
Argv = Annotated[tuple[str, ...], BeforeValidator(_words)]
BestBy = Annotated[tuple[str, ...], BeforeValidator(_texts)]
Ordered = Annotated[dict[str, Item], BeforeValidator(_from_pairs), PlainSerializer(_to_pairs)]
