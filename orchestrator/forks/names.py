"""Deterministic names at the provider: `fy_<installation>_<b|f><id>`.

`<installation>` is the first eight hex digits of the installation's id, so that a name alone tells whose it is;
`<id>` is the registry's row id, recorded before the provider is asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_PATTERN = re.compile(r"fy_(?P<installation>[0-9a-f]{8})_(?P<letter>[bf])(?P<id>[1-9][0-9]{0,17})")
_LETTERS: dict[Literal["baseline", "fork"], str] = {"baseline": "b", "fork": "f"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedName:
    installation: str
    kind: Literal["baseline", "fork"]
    resource_id: int


def short_installation(installation: str) -> str:
    """The part of an installation's UUID that names carry."""
    return installation.replace("-", "")[:8].lower()


def resource_name(installation: str, kind: Literal["baseline", "fork"], resource_id: int) -> str:
    return f"fy_{short_installation(installation)}_{_LETTERS[kind]}{resource_id}"


def parse_name(name: str) -> ParsedName | None:
    """The parts of a name of ours, or None for anybody else's."""
    match = _PATTERN.fullmatch(name)
    if match is None:
        return None
    kind: Literal["baseline", "fork"] = "baseline" if match["letter"] == "b" else "fork"
    return ParsedName(installation=match["installation"], kind=kind, resource_id=int(match["id"]))
