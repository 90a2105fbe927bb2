"""A NOT NULL column added to a filled table, which the migration itself fills later: the constraint after the fill.

Without such an UPDATE there is no repair: a rule invents no data.
"""

from __future__ import annotations

import re

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import Edit, placed, quote_name, rewrite, text_of
from orchestrator.migrations.lexer import Token

_MESSAGE = re.compile(r'^column "(?P<column>.+)" of relation "(?P<table>.+)" contains null values$')


def repair(context: FixContext) -> Fix | None:
    message = _MESSAGE.match(context.error.message)
    failing = context.failing()
    if context.error.sqlstate != "23502" or message is None or failing is None:
        return None
    column, table = message["column"], message["table"]
    constraint = _constraint(placed(failing), column)
    later = [s for s in context.statements() if s.start >= failing.end]
    fills = [statement for statement in later if _fills(placed(statement), table, column)]
    if constraint is None or not fills:
        return None
    place = fills[-1].end
    target = placed(failing)[2]
    name = context.sql[target.start : _name_end(placed(failing), 2)]
    added = f"\nALTER TABLE {name} ALTER COLUMN {quote_name(column)} SET NOT NULL;"
    edits = [Edit(constraint[0], constraint[1], ""), Edit(place, place, added)]
    return Fix(sql=rewrite(context.sql, edits), note=f"set {column} NOT NULL after the UPDATE that fills it")


def _constraint(tokens: tuple[Token, ...], column: str) -> tuple[int, int] | None:
    """Where NOT NULL stands in ALTER TABLE … ADD [COLUMN] column …, with the space before it."""
    if text_of(tokens, 0) != "ALTER" or text_of(tokens, 1) != "TABLE":
        return None
    inside = False
    for i, token in enumerate(tokens):
        if token.identifier == column and text_of(tokens, i - 1) in ("ADD", "COLUMN", "EXISTS"):
            inside = True
        elif token.text == ",":
            inside = False
        elif inside and token.word == "NOT" and text_of(tokens, i + 1) == "NULL":
            return tokens[i - 1].end, tokens[i + 1].end
    return None


def _fills(tokens: tuple[Token, ...], table: str, column: str) -> bool:
    """UPDATE table SET … column = …"""
    if text_of(tokens, 0) != "UPDATE" or not any(token.identifier == table for token in tokens[1:5]):
        return False
    return any(
        token.identifier == column and text_of(tokens, i + 1) == "=" and text_of(tokens, i - 1) in ("SET", ",")
        for i, token in enumerate(tokens)
    )


def _name_end(tokens: tuple[Token, ...], at: int) -> int:
    while text_of(tokens, at + 1) == "." and at + 2 < len(tokens):
        at += 2
    return tokens[at].end
