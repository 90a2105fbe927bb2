"""A reserved word used as a name: CREATE TABLE order, a column called user."""

from __future__ import annotations

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import (
    at_error,
    failing_tokens,
    placed,
    replace_token,
    rewrite,
    text_of,
)
from orchestrator.migrations.fixers.types import is_type_name
from orchestrator.migrations.lexer import Kind, Token

_BEFORE_NAME = frozenset(("TABLE", "INTO", "FROM", "JOIN", "UPDATE", "REFERENCES", "COLUMN", "EXISTS", "ADD", "."))
# Words that agents do use as names; others at the place of an error are a slip of another kind.
_NAMES = frozenset(
    ("ORDER", "USER", "GROUP", "TABLE", "END", "DESC", "ASC", "COLUMN", "LIMIT", "OFFSET", "TO", "WINDOW")
)


def repair(context: FixContext) -> Fix | None:
    if context.error.sqlstate != "42601":
        return None
    tokens = failing_tokens(context)
    at = at_error(context, tokens)
    if at is None or tokens[at].word not in _NAMES or not _is_name_place(tokens, at):
        return None
    word = tokens[at].word
    edits = [
        replace_token(token, f'"{token.text.lower()}"')
        for statement in context.statements()
        for i, token in enumerate(placed(statement))
        if token.word == word and _is_name_place(placed(statement), i)
    ]
    return Fix(sql=rewrite(context.sql, edits), note=f"quoted the name {word.lower()}")


def _is_name_place(tokens: tuple[Token, ...], i: int) -> bool:
    before, after = text_of(tokens, i - 1), text_of(tokens, i + 1)
    if after == "BY":
        return False
    if before in _BEFORE_NAME:
        return True
    if before in ("(", ","):
        in_list = after in (",", ")")
        return in_list or (is_type_name(after) and tokens[i + 1].kind is Kind.WORD)
    return before == "ON" and after == "("
