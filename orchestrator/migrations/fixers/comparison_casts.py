"""Operands of different types: integer = text, integer LIKE, boolean = 1."""

from __future__ import annotations

import re

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import (
    Edit,
    at_error,
    closing,
    failing_tokens,
    is_name,
    replace_token,
    rewrite,
    text_of,
)
from orchestrator.migrations.lexer import Kind, Token

_MESSAGE = re.compile(r"^operator does not exist: (?P<left>[\w ]+?) (?P<operator>[^\w\s]+) (?P<right>[\w ]+)$")
_TEXT = frozenset(("text", "character varying", "character"))
_EXACT = frozenset(("integer", "bigint", "smallint", "uuid", "numeric"))
_TRUTH = {"0": "false", "1": "true"}
_MATCHES = frozenset(("~~", "~~*", "!~~", "!~~*", "~", "~*", "!~", "!~*"))
_BINDS_TIGHTER = frozenset(("+", "-", "*", "/", "%", "||", "::", ".", "->", "->>"))


def repair(context: FixContext) -> Fix | None:
    """The text is cast to the other type: a value that is none fails loudly, where the reverse would match nothing."""
    message = _MESSAGE.match(context.error.message)
    tokens = failing_tokens(context)
    at = at_error(context, tokens)
    if context.error.sqlstate != "42883" or message is None or at is None:
        return None
    left, right = message["left"], message["right"]
    if message["operator"] in _MATCHES:
        return _cast(context, _operand_before(tokens, at), "text") if left in _EXACT else None
    if {left, right} == {"boolean", "integer"}:
        return _truth(context, tokens, at)
    if left in _TEXT and right in _EXACT:
        after = _operand_after(tokens, at)
        if after and len(after) == 1 and after[0].kind is Kind.NUMBER:
            return _replaced(context, after[0], f"'{after[0].text}'")
        return _cast(context, _operand_before(tokens, at), right)
    if left in _EXACT and right in _TEXT:
        return _cast(context, _operand_after(tokens, at), left)
    return None


def _truth(context: FixContext, tokens: tuple[Token, ...], at: int) -> Fix | None:
    """boolean = 1 and 0 = boolean, with the number written out."""
    sides = [tokens[i] for i in (at - 1, at + 1) if text_of(tokens, i) in _TRUTH]
    return _replaced(context, sides[0], _TRUTH[sides[0].text]) if len(sides) == 1 else None


def _replaced(context: FixContext, token: Token, text: str) -> Fix:
    note = f"wrote {token.text} as {text}"
    return Fix(sql=rewrite(context.sql, [replace_token(token, text)]), note=note)


def _cast(context: FixContext, operand: tuple[Token, ...], type_name: str) -> Fix | None:
    if not operand:
        return None
    end = operand[-1].end
    note = f"cast {context.sql[operand[0].start : end]} to {type_name}"
    return Fix(sql=rewrite(context.sql, [Edit(end, end, f"::{type_name}")]), note=note)


def _operand_before(tokens: tuple[Token, ...], at: int) -> tuple[Token, ...]:
    """A name, a literal or a call that ends before the index; () for anything that a cast would split."""
    if at and text_of(tokens, at - 1) == "NOT":
        at -= 1
    last = first = at - 1
    if first < 0:
        return ()
    if tokens[last].text == ")":
        opening = next((i for i in range(last, -1, -1) if closing(tokens, i) == last and tokens[i].text == "("), None)
        if opening is None:
            return ()
        first = opening - 1 if opening and is_name(tokens[opening - 1]) else opening
    while text_of(tokens, first - 1) == ".":
        first -= 2
    return () if first < 0 or text_of(tokens, first - 1) in _BINDS_TIGHTER else tokens[first : last + 1]


def _operand_after(tokens: tuple[Token, ...], at: int) -> tuple[Token, ...]:
    first = last = at + 1
    if first >= len(tokens) or text_of(tokens, first) in ("(", "ANY", "ALL", "SOME"):
        return ()
    while text_of(tokens, last + 1) == ".":
        last += 2
    if text_of(tokens, last + 1) == "(":
        last = closing(tokens, last + 1) or len(tokens)
    return () if last >= len(tokens) or text_of(tokens, last + 1) in _BINDS_TIGHTER else tokens[first : last + 1]
