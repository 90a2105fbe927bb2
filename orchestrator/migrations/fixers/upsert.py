"""MySQL's ON DUPLICATE KEY UPDATE, as ON CONFLICT on the one key that the table has."""

from __future__ import annotations

import re

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.scope import names_at_failure
from orchestrator.migrations.fixers.text import Edit, elements, failing_tokens, is_name, rewrite, text_of
from orchestrator.migrations.lexer import Kind, Token
from orchestrator.migrations.names import Table

_KEY = re.compile(r"^CREATE UNIQUE INDEX .* USING btree (?P<columns>\([\w, ]+\))$")


def repair(context: FixContext) -> Fix | None:
    tokens = failing_tokens(context)
    at = next((i for i, t in enumerate(tokens) if t.word == "ON" and text_of(tokens, i + 1) == "DUPLICATE"), None)
    if context.error.sqlstate != "42601" or at is None or text_of(tokens, 0) != "INSERT":
        return None
    target = 2
    while text_of(tokens, target + 1) == ".":
        target += 2
    table = names_at_failure(context).table(tokens[target].identifier)
    key = _only_key(table) if table is not None else None
    last = len(tokens) - (1 if tokens[-1].text == ";" else 0)
    spans = [tokens[a:b] for a, b in elements(tokens, at + 3, last)]
    assignments = [_assignment(span) for span in spans]
    if key is None or not assignments or any(text is None for text in assignments):
        return None
    text = f"ON CONFLICT {key} DO UPDATE SET {', '.join(text for text in assignments if text)}"
    edit = Edit(tokens[at].start, tokens[last - 1].end, text)
    return Fix(sql=rewrite(context.sql, [edit]), note="wrote ON DUPLICATE KEY as ON CONFLICT")


def _only_key(table: Table) -> str | None:
    """The columns of the table's only unique index; with several, MySQL would react to any of them."""
    unique = [definition for definition in table.indexes.values() if definition.startswith("CREATE UNIQUE")]
    match = _KEY.match(unique[0]) if len(unique) == 1 else None
    return match["columns"] if match else None


def _assignment(tokens: tuple[Token, ...]) -> str | None:
    """`a = VALUES(a)` or `a = literal`; an expression over the old row would be ambiguous."""
    if len(tokens) < 3 or not is_name(tokens[0]) or tokens[1].text != "=":
        return None
    if tokens[2].word == "VALUES" and len(tokens) == 6 and is_name(tokens[4]):
        return f"{tokens[0].text} = excluded.{tokens[4].text}"
    literal = len(tokens) == 3 and tokens[2].kind in (Kind.STRING, Kind.NUMBER)
    return f"{tokens[0].text} = {tokens[2].text}" if literal else None
