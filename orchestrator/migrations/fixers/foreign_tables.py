"""The foreign rule's CREATE TABLE: columns, keys and table options."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.migrations.fixers.foreign_columns import ColumnEdits, Declined, column_edits
from orchestrator.migrations.fixers.text import Edit, closing, elements, is_name, placed, rewrite, text_of
from orchestrator.migrations.lexer import Kind, Token
from orchestrator.migrations.names import SchemaNames
from orchestrator.migrations.split import split

__all__ = ["Declined", "rewrite_tables"]

_FOREIGN_OPTIONS = frozenset(
    ("ENGINE", "AUTO_INCREMENT", "DEFAULT", "CHARSET", "CHARACTER", "COLLATE", "COMMENT", "ROW_FORMAT", "STRICT", "ON")
)
_KEYS = frozenset(("KEY", "INDEX"))
_TABLE_CONSTRAINTS = frozenset(("CONSTRAINT", "PRIMARY", "FOREIGN", "UNIQUE", "CHECK", "EXCLUDE", "LIKE"))
_SQL_SERVER = re.compile(
    r"\bIDENTITY\s*\(|\bNVARCHAR\b|\bGETDATE\b|\bUNIQUEIDENTIFIER\b|\bDATETIME2\b|\bCLUSTERED\b|\[\w+\]|\bdbo\.",
    re.IGNORECASE,
)


def rewrite_tables(sql: str, schema: SchemaNames) -> str:
    """All CREATE TABLE statements of a text; ALTER TABLE … ADD as far as columns go. Raises Declined."""
    sql_server = _SQL_SERVER.search(sql) is not None
    edits: list[Edit] = []
    for piece in split(sql):
        tokens = placed(piece)
        if piece.keywords[:1] == ("CREATE",) and "TABLE" in piece.keywords[1:4]:
            edits += _table(tokens, ColumnEdits(types=frozenset(schema.types), sql_server=sql_server), piece.end)
        elif piece.keywords[:2] == ("ALTER", "TABLE"):
            edits += _added_columns(tokens, ColumnEdits(types=frozenset(schema.types), sql_server=sql_server))
    return rewrite(sql, edits)


def _table(tokens: tuple[Token, ...], how: ColumnEdits, end_of_piece: int) -> list[Edit]:
    at = next(i for i, token in enumerate(tokens) if token.word == "TABLE") + 1
    while text_of(tokens, at) in ("IF", "NOT", "EXISTS"):
        at += 1
    first = at
    while text_of(tokens, at + 1) == ".":
        at += 2
    opening = at + 1
    end = closing(tokens, opening) if text_of(tokens, opening) == "(" else None
    if end is None:
        return []
    table = "".join(token.text for token in tokens[first : at + 1])
    start_value = _start_value(tokens[end + 1 :])
    edits: list[Edit] = []
    after: list[str] = []
    for begin, stop in elements(tokens, opening, end):
        element = tokens[begin:stop]
        if _is_index(element):
            if begin - 1 == opening:
                raise Declined
            edits.append(Edit(tokens[begin - 1].start, element[-1].end, ""))
            after.append(_index(element, table))
        elif element and element[0].word in _TABLE_CONSTRAINTS:
            edits += _constraint(element)
        elif element and is_name(element[0]):
            found, statements = column_edits(element, table, how, start_value)
            edits += found
            after += statements
    edits += _options(tokens[end:], table, after)
    if after:
        ended = tokens[-1].text == ";"
        edits.append(Edit(end_of_piece, end_of_piece, ("" if ended else ";") + "".join(f"\n{s};" for s in after)))
    return edits


def _is_index(tokens: tuple[Token, ...]) -> bool:
    """KEY name (cols) or INDEX (cols), but not a column called key. Raises Declined for FULLTEXT."""
    first, second = text_of(tokens, 0), text_of(tokens, 1)
    if first in ("FULLTEXT", "SPATIAL") and second in _KEYS:
        raise Declined
    opening = 1 if second == "(" else 2
    return first in _KEYS and text_of(tokens, opening) == "(" and is_name(tokens[opening + 1])


def _index(tokens: tuple[Token, ...], table: str) -> str:
    """CREATE INDEX for KEY name (a, b(10) DESC): an index over whole columns serves those over their starts."""
    opening = next(i for i, token in enumerate(tokens) if token.text == "(")
    end = closing(tokens, opening)
    if end is None:
        raise Declined
    columns = []
    for begin, stop in elements(tokens, opening, end):
        direction = " DESC" if text_of(tokens, stop - 1) == "DESC" else ""
        columns.append(tokens[begin].text + direction)
    name = tokens[1].text + " " if opening == 2 else ""
    return f"CREATE INDEX {name}ON {table} ({', '.join(columns)})"


def _constraint(tokens: tuple[Token, ...]) -> list[Edit]:
    """UNIQUE KEY name (…) → CONSTRAINT name UNIQUE (…); CLUSTERED, ASC and USING BTREE go."""
    edits = [
        Edit(token.start, token.end, "")
        for i, token in enumerate(tokens)
        if token.word in ("CLUSTERED", "NONCLUSTERED") or (token.word == "ASC" and text_of(tokens, i + 1) in (",", ")"))
    ]
    for i, token in enumerate(tokens):
        if token.word == "USING" and text_of(tokens, i + 1) in ("BTREE", "HASH") and tokens[0].word != "EXCLUDE":
            edits.append(Edit(token.start, tokens[i + 1].end, ""))
    unique = next((i for i, token in enumerate(tokens) if token.word == "UNIQUE"), None)
    if unique is not None and text_of(tokens, unique + 1) in _KEYS:
        named = text_of(tokens, unique + 2) != "("
        name = f"CONSTRAINT {tokens[unique + 2].text} " if named and unique == 0 else ""
        edits.append(Edit(tokens[unique].start, tokens[unique + (2 if named else 1)].end, f"{name}UNIQUE"))
    elif unique == 0 and text_of(tokens, 2) == "(" and is_name(tokens[1]):
        edits.append(Edit(tokens[0].start, tokens[1].end, f"CONSTRAINT {tokens[1].text} UNIQUE"))
    return edits


def _start_value(options: Sequence[Token]) -> str | None:
    for i, token in enumerate(options):
        if token.word == "AUTO_INCREMENT":
            value = i + 2 if text_of(options, i + 1) == "=" else i + 1
            return options[value].text if value < len(options) else None
    return None


def _options(tokens: Sequence[Token], table: str, after: list[str]) -> list[Edit]:
    """Everything after the closing parenthesis (tokens[0]) that no PostgreSQL table has."""
    rest = [token for token in tokens[1:] if token.text != ";"]
    if not rest or not (rest[0].word in _FOREIGN_OPTIONS or rest[0].word == "WITHOUT"):
        return []
    if any(token.word == "PARTITION" for token in rest) or (rest[0].word == "ON" and text_of(rest, 1) == "COMMIT"):
        raise Declined
    for i, token in enumerate(rest):
        if token.word == "COMMENT":
            text = next((t.text for t in rest[i + 1 : i + 3] if t.kind is Kind.STRING), None)
            if text is not None:
                after.append(f"COMMENT ON TABLE {table} IS {text}")
    return [Edit(tokens[0].end, rest[-1].end, "")]


def _added_columns(tokens: tuple[Token, ...], how: ColumnEdits) -> list[Edit]:
    """The definitions in ALTER TABLE t ADD [COLUMN] a …, ADD [COLUMN] b …"""
    at = 2
    while text_of(tokens, at) in ("IF", "EXISTS", "ONLY"):
        at += 1
    first = at
    while text_of(tokens, at + 1) == ".":
        at += 2
    table = "".join(token.text for token in tokens[first : at + 1])
    stop = len(tokens) - (1 if tokens[-1].text == ";" else 0)
    edits: list[Edit] = []
    after: list[str] = []
    for begin, end in elements(tokens, at, stop):
        column = begin + 1 if text_of(tokens, begin) == "ADD" else stop
        while text_of(tokens, column) in ("COLUMN", "IF", "NOT", "EXISTS"):
            column += 1
        if column < end and text_of(tokens, column) not in (*_TABLE_CONSTRAINTS, *_KEYS, "FULLTEXT", "("):
            found, statements = column_edits(tokens[column:end], table, how, None)
            edits += found
            after += statements
    if after:
        place = tokens[-1].end
        edits.append(Edit(place, place, ("" if tokens[-1].text == ";" else ";") + "".join(f"\n{s};" for s in after)))
    return edits
