"""IF NOT EXISTS where PostgreSQL has none: without it the statement is stricter, never looser."""

from __future__ import annotations

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import Edit, failing_tokens, rewrite, text_of

_WITHOUT = frozenset(("CONSTRAINT", "TYPE", "DOMAIN", "TRIGGER", "POLICY", "FUNCTION", "PROCEDURE", "RULE"))


def repair(context: FixContext) -> Fix | None:
    if context.error.sqlstate != "42601":
        return None
    tokens = failing_tokens(context)
    edits = [
        Edit(tokens[i + 1].start, tokens[i + 4].start, "")
        for i, token in enumerate(tokens[:-4])
        if token.word in _WITHOUT and [text_of(tokens, i + k) for k in (1, 2, 3)] == ["IF", "NOT", "EXISTS"]
    ]
    return Fix(sql=rewrite(context.sql, edits), note="left out IF NOT EXISTS") if edits else None
