"""Arguments of a type that a function does not take: round(double precision, n), sum(text), lower(integer)."""

from __future__ import annotations

import re

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import Edit, at_error, closing, elements, failing_tokens, rewrite, text_of

_MESSAGE = re.compile(r"^function (?P<name>[\w.]+)\((?P<types>.*)\) does not exist$")
_TEXT = frozenset(("text", "character varying", "character"))
_WHOLE = frozenset(("integer", "bigint", "smallint", "uuid"))
_OF_TEXT_NAMES = """
btrim initcap left length lower lpad ltrim md5 regexp_replace replace reverse right rpad rtrim split_part strpos substr
substring translate upper
"""
_OF_TEXT = frozenset(_OF_TEXT_NAMES.split())


def repair(context: FixContext) -> Fix | None:
    """To text without loss; to a number loudly, for a text that is none."""
    message = _MESSAGE.match(context.error.message)
    tokens = failing_tokens(context)
    at = at_error(context, tokens)
    if context.error.sqlstate != "42883" or message is None or at is None:
        return None
    types = message["types"].split(", ")
    to = _wanted(message["name"].rsplit(".", 1)[-1], types)
    opening = next((i for i in (at + 1, at + 3) if text_of(tokens, i) == "("), None)
    end = closing(tokens, opening) if opening is not None else None
    if to is None or opening is None or end is None:
        return None
    spans = elements(tokens, opening, end)
    if len(spans) != len(types) or text_of(tokens, opening + 1) == "DISTINCT":
        return None
    first, last = tokens[spans[0][0]], tokens[spans[0][1] - 1]
    single = first is last or (spans[0][1] - spans[0][0] == 3 and text_of(tokens, spans[0][0] + 1) == ".")
    edits = [Edit(last.end, last.end, f"::{to}" if single else f")::{to}")]
    if not single:
        edits.append(Edit(first.start, first.start, "("))
    return Fix(sql=rewrite(context.sql, edits), note=f"cast the argument of {message['name']} to {to}")


def _wanted(name: str, types: list[str]) -> str | None:
    if name in ("round", "trunc") and types == ["double precision", "integer"]:
        return "numeric"
    if name in ("sum", "avg") and len(types) == 1 and types[0] in _TEXT:
        return "numeric"
    return "text" if name in _OF_TEXT and types[0] in _WHOLE else None
