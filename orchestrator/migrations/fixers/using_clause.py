"""A change of type that needs USING: the cast that the server itself proposes."""

from __future__ import annotations

import re

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import Edit, failing_tokens, rewrite, text_of
from orchestrator.migrations.lexer import Token

_HINT = re.compile(r'USING (?P<cast>.+::.+)"\.?$')
_MESSAGE = re.compile(r'^column "(?P<column>.+)" cannot be cast automatically to type ')


def repair(context: FixContext) -> Fix | None:
    """An explicit cast fails loudly on a value that it cannot convert, so no data is lost."""
    hint = _HINT.search(context.error.hint or "")
    message = _MESSAGE.match(context.error.message)
    if context.error.sqlstate != "42804" or hint is None or message is None:
        return None
    tokens = failing_tokens(context)
    at = _type_change(tokens, message["column"])
    if at is None:
        return None
    end, depth = at, 0
    while end < len(tokens) and not (depth == 0 and tokens[end].text in (",", ";")):
        if tokens[end].word == "USING":
            return None
        depth += {"(": 1, ")": -1}.get(tokens[end].text, 0)
        end += 1
    place = tokens[end - 1].end
    note = f"added USING {hint['cast']}"
    return Fix(sql=rewrite(context.sql, [Edit(place, place, f" USING {hint['cast']}")]), note=note)


def _type_change(tokens: tuple[Token, ...], column: str) -> int | None:
    """The index of TYPE in … ALTER [COLUMN] column [SET DATA] TYPE …"""
    for i, token in enumerate(tokens):
        if token.word == "TYPE":
            name = i - 3 if text_of(tokens, i - 1) == "DATA" else i - 1
            if name > 0 and tokens[name].identifier == column and text_of(tokens, name - 1) in ("ALTER", "COLUMN"):
                return i
    return None
