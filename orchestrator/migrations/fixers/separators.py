"""A missing separator: the comma between two elements on two lines, or the semicolon between two statements."""

from __future__ import annotations

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import (
    VERBS,
    Edit,
    at_error,
    failing_tokens,
    is_name,
    rewrite,
    text_of,
)
from orchestrator.migrations.fixers.types import is_type_name
from orchestrator.migrations.lexer import Kind, Token

_CONSTRAINT_STARTS = frozenset(("CONSTRAINT", "PRIMARY", "FOREIGN", "UNIQUE"))


def repair(context: FixContext) -> Fix | None:
    if context.error.sqlstate != "42601":
        return None
    tokens = failing_tokens(context)
    at = at_error(context, tokens)
    if at is None or at == 0:
        return None
    token, before = tokens[at], tokens[at - 1]
    depth = _depth(tokens[:at])
    new_line = "\n" in context.sql[before.end : token.start]
    if new_line and depth == 0 and token.word in VERBS - {"SET", "SELECT", "VALUES", "WITH", "TABLE", "DO"}:
        return _insert(context, before, ";", "ended a statement with its semicolon")
    if before.text == ")" and token.text == "(" and depth == 0 and _lists_rows(tokens[:at]):
        return _insert(context, before, ",", "put a comma between two rows")
    if text_of(tokens, 0) == "CREATE" and "TABLE" in (text_of(tokens, 1), text_of(tokens, 2)) and depth == 1:
        return _between_columns(context, tokens, at)
    return None


def _between_columns(context: FixContext, tokens: tuple[Token, ...], at: int) -> Fix | None:
    """The server reports some token of the new element (name, type, parenthesis); the element starts a line."""
    for i in range(at, 2, -1):
        token, before = tokens[i], tokens[i - 1]
        if before.text in (",", "("):
            return None
        if "\n" not in context.sql[before.end : token.start]:
            continue
        starts_column = i >= at - 1 and is_name(token) and i + 1 < len(tokens) and is_type_name(tokens[i + 1].text)
        if starts_column or (token.word in _CONSTRAINT_STARTS and tokens[at].text == "("):
            return _insert(context, before, ",", "put a comma between two elements")
        return None
    return None


def _lists_rows(tokens: tuple[Token, ...]) -> bool:
    return tokens[0].word == "INSERT" and any(token.word == "VALUES" for token in tokens)


def _depth(tokens: tuple[Token, ...]) -> int:
    return sum({"(": 1, ")": -1}.get(token.text, 0) for token in tokens if token.kind is Kind.PUNCTUATION)


def _insert(context: FixContext, after: Token, text: str, note: str) -> Fix:
    return Fix(sql=rewrite(context.sql, [Edit(after.end, after.end, text)]), note=note)
