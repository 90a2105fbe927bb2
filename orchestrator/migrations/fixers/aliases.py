"""A table named in full where its alias is due, and an alias where none may stand (the target of SET)."""

from __future__ import annotations

import re

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import Edit, at_error, failing_tokens, replace_token, rewrite, text_of

_HINT = re.compile(r'^Perhaps you meant to reference the table alias "(?P<alias>[^"]+)"\.$')
_ENTRY = re.compile(r'(?:FROM-clause entry for table|reference to FROM-clause entry for table) "(?P<table>[^"]+)"')
_QUALIFIED = "SET target columns cannot be qualified with the relation name."


def repair(context: FixContext) -> Fix | None:
    return _use_alias(context) or _bare_target(context)


def _use_alias(context: FixContext) -> Fix | None:
    """The server itself names the alias; only where the table appears once, so that there is one alias."""
    hint = _HINT.match(context.error.hint or "")
    entry = _ENTRY.search(context.error.message)
    if context.error.sqlstate != "42P01" or hint is None or entry is None:
        return None
    tokens = failing_tokens(context)
    named = [i for i, t in enumerate(tokens) if t.identifier == entry["table"] and text_of(tokens, i + 1) != "."]
    if len(named) != 1:
        return None
    edits = [
        replace_token(token, hint["alias"])
        for i, token in enumerate(tokens)
        if token.identifier == entry["table"] and text_of(tokens, i + 1) == "." and text_of(tokens, i - 1) != "."
    ]
    return Fix(sql=rewrite(context.sql, edits), note=f"{entry['table']} → its alias {hint['alias']}")


def _bare_target(context: FixContext) -> Fix | None:
    """UPDATE t AS a SET a.x = …: the target is written without the alias."""
    tokens = failing_tokens(context)
    at = at_error(context, tokens)
    if context.error.sqlstate != "42703" or context.error.hint != _QUALIFIED or at is None:
        return None
    qualifier = tokens[at].identifier
    edits = [
        Edit(token.start, tokens[i + 2].start, "")
        for i, token in enumerate(tokens[:-3])
        if token.identifier == qualifier
        and text_of(tokens, i + 1) == "."
        and text_of(tokens, i + 3) == "="
        and text_of(tokens, i - 1) in ("SET", ",")
    ]
    return Fix(sql=rewrite(context.sql, edits), note="wrote the targets of SET without the table") if edits else None
