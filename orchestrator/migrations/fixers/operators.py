"""Operators of other languages: == for =, && for AND, + between texts."""

from __future__ import annotations

import re

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import (
    at_error,
    closing,
    failing_tokens,
    is_name,
    replace_token,
    rewrite,
    text_of,
)
from orchestrator.migrations.lexer import Kind, Token

_MESSAGE = re.compile(r"^operator does not exist: (?P<left>[\w ]+?) (?P<operator>==|&&|\+) (?P<right>[\w ]+)$")
_TEXT = frozenset(("text", "character varying", "character", "unknown"))


def repair(context: FixContext) -> Fix | None:
    tokens = failing_tokens(context)
    at = at_error(context, tokens)
    message = _MESSAGE.match(context.error.message) if context.error.sqlstate == "42883" else None
    if message is not None and message["operator"] == "==":
        return _replaced(context, tokens, "==", "=")
    # a = 1 && b = 2 groups as a = (1 && b) = 2, which is a syntax error at the second sign of equality.
    chained = context.error.sqlstate == "42601" and at is not None and text_of(tokens, at) == "="
    if chained or (message is not None and {message["left"], message["right"]} == {"boolean"}):
        return _replaced(context, tokens, "&&", "AND")
    if message is not None and at is not None and _joins_texts(message["left"], message["right"]):
        edits = [replace_token(tokens[i], "||") for i in _chain(tokens, at)]
        return Fix(sql=rewrite(context.sql, edits), note="joined texts with || instead of +")
    return None


def _joins_texts(left: str, right: str) -> bool:
    return {left, right} <= _TEXT and {left, right} != {"unknown"}


def _replaced(context: FixContext, tokens: tuple[Token, ...], old: str, new: str) -> Fix | None:
    edits = [replace_token(token, new) for token in tokens if token.kind is Kind.OPERATOR and token.text == old]
    return Fix(sql=rewrite(context.sql, edits), note=f"{old} → {new}") if edits else None


def _chain(tokens: tuple[Token, ...], at: int) -> list[int]:
    """The plus at the index and those that follow it in the same sum."""
    chain = [at]
    i = at + 1
    while i < len(tokens) and (is_name(tokens[i]) or tokens[i].kind is Kind.STRING):
        while text_of(tokens, i + 1) == ".":
            i += 2
        if text_of(tokens, i + 1) == "(":
            i = closing(tokens, i + 1) or len(tokens)
        if text_of(tokens, i + 1) != "+":
            break
        chain.append(i + 1)
        i += 2
    return chain
