"""A comma with nothing after it: before a closing parenthesis, a clause, or the end."""

from __future__ import annotations

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import Edit, replace_token, rewrite, words

# Reserved words, none of which can be an element of a list.
_CLAUSES = frozenset(("FROM", "WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "RETURNING", "ON", "UNION"))


def repair(context: FixContext) -> Fix | None:
    if context.error.sqlstate != "42601":
        return None
    tokens = words(context.sql)
    edits: list[Edit] = []
    for i, token in enumerate(tokens):
        after = tokens[i + 1] if i + 1 < len(tokens) else None
        if token.text == "," and (after is None or after.text in (")", ";", ",") or after.word in _CLAUSES):
            edits.append(replace_token(token, ""))
    return Fix(sql=rewrite(context.sql, edits), note="removed a comma with nothing after it") if edits else None
