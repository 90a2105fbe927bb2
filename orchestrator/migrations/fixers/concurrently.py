"""CONCURRENTLY cannot run in a transaction, and a migration is one: the same index, made under a lock."""

from __future__ import annotations

from itertools import pairwise

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import Edit, placed, rewrite

_STATEMENTS = ("CREATE", "DROP", "REINDEX")


def repair(context: FixContext) -> Fix | None:
    if context.error.sqlstate != "25001":
        return None
    edits: list[Edit] = []
    for statement in context.statements():
        tokens = placed(statement)
        if statement.keywords[:1] and statement.keywords[0] in _STATEMENTS:
            edits += [
                Edit(token.start, after.start, "") for token, after in pairwise(tokens) if token.word == "CONCURRENTLY"
            ]
    return Fix(sql=rewrite(context.sql, edits), note="made the index without CONCURRENTLY") if edits else None
