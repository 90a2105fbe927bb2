"""Quotes and parentheses that are not closed, where only one place can be meant; backslashes that escape a quote."""

from __future__ import annotations

import re

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import Edit, at_error, failing_tokens, rewrite
from orchestrator.migrations.lexer import Dialect, Kind, Token, lex

_BACKSLASH = Dialect(backslash_escapes=True)
_LAST_VALUE = re.compile(r"'(?P<value>[^'\n,;()]*)(?P<rest>\)*\s*;?\s*)$")
_TAG = re.compile(r"\$(?:[A-Za-z_]\w*)?\$")


def repair(context: FixContext) -> Fix | None:
    if context.error.sqlstate not in (None, "42601"):
        return None
    broken = next((token for token in lex(context.sql) if not token.closed), None)
    return _escaped_quotes(context, broken) or _close_quote(context, broken) or _close_parentheses(context)


def _escaped_quotes(context: FixContext, broken: Token | None) -> Fix | None:
    """'it\\'s' is MySQL for 'it''s'; only when reading it so closes every quote."""
    if "\\'" not in context.sql:
        return None
    tokens = lex(context.sql, _BACKSLASH)
    odd = broken is not None or any(token.kind is Kind.META for token in lex(context.sql))
    if any(not token.closed or token.kind is Kind.META for token in tokens) or not odd:
        return None
    edits = [
        Edit(token.start, token.end, token.text.replace("\\'", "''"))
        for token in tokens
        if token.kind is Kind.STRING and token.text[0] == "'" and "\\'" in token.text
    ]
    return Fix(sql=rewrite(context.sql, edits), note="doubled the quotes that a backslash escaped") if edits else None


def _close_quote(context: FixContext, broken: Token | None) -> Fix | None:
    if broken is None:
        return None
    if broken.kind is Kind.STRING:
        match = _LAST_VALUE.match(broken.text)
        if match is None or not match["value"].strip():
            return None
        place = broken.start + match.start("rest")
        return Fix(sql=rewrite(context.sql, [Edit(place, place, "'")]), note="closed the last quote")
    if broken.kind is Kind.DOLLAR:
        return _close_body(context, broken)
    return None


def _close_body(context: FixContext, broken: Token) -> Fix | None:
    """A body closed with another tag than it was opened with."""
    opening = _TAG.match(broken.text)
    others = [match for match in _TAG.finditer(broken.text) if match.start() > 0]
    if opening is None or len(others) != 1:
        return None
    after = broken.text[others[0].end() :].strip().upper()
    if not (after == "" or after.startswith((";", "LANGUAGE"))):
        return None
    start = broken.start + others[0].start()
    edit = Edit(start, start + len(others[0][0]), opening[0])
    return Fix(sql=rewrite(context.sql, [edit]), note="closed the body with the tag that opened it")


def _close_parentheses(context: FixContext) -> Fix | None:
    """A syntax error at a semicolon (or at the end) with parentheses still open: they close there."""
    tokens = failing_tokens(context)
    at = at_error(context, tokens)
    if "at end of input" in context.error.message:
        at = len(tokens)
    if at is None or (at < len(tokens) and tokens[at].text != ";"):
        return None
    depth = sum({"(": 1, ")": -1}.get(token.text, 0) for token in tokens[:at])
    if depth < 1 or at == 0:
        return None
    place = tokens[at - 1].end
    return Fix(sql=rewrite(context.sql, [Edit(place, place, ")" * depth)]), note="closed the open parentheses")
