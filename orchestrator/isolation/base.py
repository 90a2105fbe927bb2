"""What the side resources share: their names, and how they are listed on intents and receipts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.errors import ForeignResource

_NAME = re.compile(r"fy_[a-z0-9_]{1,59}")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SideResource:
    """One side resource that exists outside of Forkyard and must be gone in the end."""

    kind: str
    name: str


def is_ours(name: str) -> bool:
    """Whether a name can be that of an environment: side resources carry their environment's name."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """The name itself. Raises ForeignResource for one that is no environment's, before anything is touched."""
    if not is_ours(name):
        raise ForeignResource(f"{name!r} is not the name of an environment; it is left alone.", name=name)
    return name
