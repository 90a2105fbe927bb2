"""A value of another type than its column: 1 for a boolean, text for a number or JSON (an explicit cast)."""

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

_MESSAGE = re.compile(r'^column "(?P<column>.+)" is of type (?P<to>.+) but expression is of type (?P<of>.+)$')
_TRUTH = {"0": "false", "1": "true"}
_ENDS = frozenset((",", ")", ";", "", "WHERE", "FROM", "RETURNING", "ON"))


def repair(context: FixContext) -> Fix | None:
    """The cast fails loudly on a value that does not fit, so nothing is lost."""
    message = _MESSAGE.match(context.error.message)
    tokens = failing_tokens(context)
    at = at_error(context, tokens)
    if context.error.sqlstate != "42804" or message is None or at is None:
        return None
    if message["to"] == "boolean" and message["of"] == "integer":
        return _truths(context, tokens, at, message["column"])
    operand = _operand(tokens, at)
    if not operand:
        return None
    end = operand[-1].end
    edit = Edit(end, end, f"::{message['to']}")
    note = f"cast the value of {message['column']} to {message['to']}"
    return Fix(sql=rewrite(context.sql, [edit]), note=note)


def _truths(context: FixContext, tokens: tuple[Token, ...], at: int, column: str) -> Fix | None:
    """The literal, and those at the same place in the other rows of VALUES (the server reports the first only)."""
    if text_of(tokens, at) not in _TRUTH:
        return None
    places = _same_place(tokens, at)
    edits = [replace_token(tokens[i], _TRUTH[tokens[i].text]) for i in places if tokens[i].text in _TRUTH]
    return Fix(sql=rewrite(context.sql, edits), note=f"wrote the value of {column} as true or false")


def _same_place(tokens: tuple[Token, ...], at: int) -> list[int]:
    opening = next((i for i in range(at, -1, -1) if tokens[i].text == "(" and (closing(tokens, i) or 0) > at), None)
    if opening is None or not any(token.word == "VALUES" for token in tokens[:opening]):
        return [at]
    column = _commas(tokens, opening, at)
    places = []
    for start, token in enumerate(tokens):
        end = closing(tokens, start) if token.text == "(" and text_of(tokens, start - 1) in ("VALUES", ",") else None
        if end is not None and start > 0:
            places += [i for i in range(start + 1, end) if _commas(tokens, start, i) == column and _alone(tokens, i)]
    return [i for i in places if i >= at or i == at]


def _commas(tokens: tuple[Token, ...], opening: int, at: int) -> int:
    depth = count = 0
    for i in range(opening, at):
        depth += {"(": 1, ")": -1}.get(tokens[i].text, 0)
        count += depth == 1 and tokens[i].text == ","
    return count


def _alone(tokens: tuple[Token, ...], i: int) -> bool:
    return text_of(tokens, i - 1) in ("(", ",") and text_of(tokens, i + 1) in (")", ",")


def _operand(tokens: tuple[Token, ...], at: int) -> tuple[Token, ...]:
    """A literal, a column or a call that is the whole value; () for an expression of more parts."""
    last = at
    if tokens[at].text == "(":
        last = closing(tokens, at) or len(tokens)
    elif tokens[at].kind in (Kind.STRING, Kind.NUMBER) or is_name(tokens[at]):
        while text_of(tokens, last + 1) == ".":
            last += 2
        if text_of(tokens, last + 1) == "(":
            last = closing(tokens, last + 1) or len(tokens)
    else:
        return ()
    whole = (
        last < len(tokens)
        and text_of(tokens, last + 1) in _ENDS
        and text_of(tokens, at - 1) in ("=", "(", ",", "SELECT")
    )
    return tokens[at : last + 1] if whole else ()
