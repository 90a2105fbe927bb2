"""A value in double quotes, as MySQL and many languages write it: "active" becomes 'active'."""

from __future__ import annotations

import re

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.scope import columns_in_scope
from orchestrator.migrations.fixers.text import at_error, failing_tokens, replace_token, rewrite, text_of
from orchestrator.migrations.lexer import Kind, Token

_MESSAGE = re.compile(r'^column "(?P<name>.*)" does not exist$', re.DOTALL)
_BEFORE_VALUE = frozenset(
    ("=", "<>", "!=", "<", ">", "<=", ">=", "LIKE", "ILIKE", "DEFAULT", "THEN", "ELSE", "||", "AND")
)


def repair(context: FixContext) -> Fix | None:
    tokens = failing_tokens(context)
    at = at_error(context, tokens)
    in_default = context.error.sqlstate == "0A000" and "DEFAULT" in context.error.message
    undefined = context.error.sqlstate == "42703" and _MESSAGE.match(context.error.message) is not None
    if not in_default and (not undefined or at is None or tokens[at].kind is not Kind.NAME):
        return None
    known = {name.lower() for name in columns_in_scope(context)}
    edits = [
        replace_token(token, "'" + token.identifier.replace("'", "''") + "'")
        for i, token in enumerate(tokens)
        if token.kind is Kind.NAME
        and token.identifier.lower() not in known
        and (text_of(tokens, i - 1) == "DEFAULT" if in_default else _is_value(tokens, i))
    ]
    named = in_default or any(at is not None and edit.start == tokens[at].start for edit in edits)
    if not edits or not named:
        return None
    return Fix(sql=rewrite(context.sql, edits), note="wrote a value in single quotes instead of double")


def _is_value(tokens: tuple[Token, ...], i: int) -> bool:
    if text_of(tokens, i + 1) in (".", "("):
        return False
    if text_of(tokens, i - 1) in _BEFORE_VALUE:
        return True
    return text_of(tokens, i - 1) in ("(", ",") and _list_head(tokens, i) in ("VALUES", "IN", ")", ",")


def _list_head(tokens: tuple[Token, ...], i: int) -> str:
    """What stands before the parenthesis around the token: VALUES or IN; a later row follows `) ,` or `,`."""
    depth = 0
    for k in range(i - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(tokens[k].text, 0)
        if depth < 0:
            head = text_of(tokens, k - 1)
            rows = any(token.word == "VALUES" for token in tokens[:k])
            return head if head not in (")", ",") or rows else ""
    return ""
