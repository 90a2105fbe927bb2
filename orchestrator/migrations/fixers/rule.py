"""A rule: a pure repair behind the guard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.guard import objection


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A named repair. What the guard objects to counts as no idea; `allowed` are phrases the rule has proven safe."""

    name: str
    repair: Callable[[FixContext], Fix | None]
    allowed: tuple[tuple[str, ...], ...] = ()

    def __call__(self, context: FixContext, /) -> Fix | None:
        fix = self.repair(context)
        if fix is None or fix.sql == context.sql:
            return None
        return None if objection(context.sql, fix.sql, allowed=self.allowed) else fix
