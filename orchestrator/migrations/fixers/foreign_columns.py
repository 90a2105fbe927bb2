"""The foreign rule's column definitions: types, AUTO_INCREMENT, UNSIGNED, ENUM, COLLATE, COMMENT."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.migrations.fixers.text import Edit, closing, replace_token, text_of
from orchestrator.migrations.fixers.types import FOREIGN_TYPES, INTEGER_TYPES, KEEPS_LENGTH
from orchestrator.migrations.lexer import Kind, Token

_UNSIGNED = {"tinyint": "smallint", "smallint": "integer", "mediumint": "integer", "int": "bigint", "integer": "bigint"}
_AUTOMATIC = frozenset(("AUTO_INCREMENT", "AUTOINCREMENT", "IDENTITY"))
_FALSE_TRUE = {"0": "false", "1": "true"}


class Declined(Exception):
    """Something without a faithful counterpart: no repair is better than one that loses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnEdits:
    """`types` are the database's own, which are never replaced."""

    types: frozenset[str]
    sql_server: bool


def column_edits(
    tokens: tuple[Token, ...], table: str, how: ColumnEdits, start_value: str | None
) -> tuple[list[Edit], list[str]]:
    """Edits of one definition (name, type, …) and statements to follow the table's. Raises Declined."""
    if len(tokens) < 2 or tokens[1].kind is not Kind.WORD:
        return [], []
    automatic = next((i for i, t in enumerate(tokens) if t.word in _AUTOMATIC and text_of(tokens, i - 1) != "AS"), None)
    edits = _type(tokens, how, checked=automatic is None)
    if automatic is not None:
        edits += _identity(tokens, automatic, start_value)
    more, after = _attributes(tokens, table)
    return [*edits, *more], after


def _type(tokens: tuple[Token, ...], how: ColumnEdits, *, checked: bool) -> list[Edit]:
    column, word = tokens[0].text, tokens[1].text.lower()
    end = closing(tokens, 2) if text_of(tokens, 2) == "(" else 1
    if word in how.types or end is None:
        return []
    unsigned = next((t for t in tokens[end:] if t.word == "UNSIGNED"), None)
    if word == "enum" and end > 2:
        values = "".join(token.text + (" " if token.text == "," else "") for token in tokens[3:end])
        return [Edit(tokens[1].start, tokens[end].end, f"text CHECK ({column} IN ({values}))")]
    if word == "set" and end > 2:
        raise Declined
    edits = [replace_token(t, "") for t in tokens[end:] if t.word == "ZEROFILL"]
    if unsigned is not None:
        check = f"CHECK ({column} >= 0)" if checked else ""
        edits.append(replace_token(unsigned, check))
    edits += _defaults(tokens, boolean=word in ("boolean", "bool") or (word == "bit" and how.sql_server))
    new = "boolean" if word == "bit" and how.sql_server else FOREIGN_TYPES.get(word, word)
    if unsigned is not None:
        new = _UNSIGNED.get(word, new)
    if word == "double" and text_of(tokens, 2) == "PRECISION":
        return edits
    inside = [token.text.upper() for token in tokens[3:end]]
    if inside == ["MAX"]:
        return [*edits, Edit(tokens[1].start, tokens[end].end, "text" if new in ("varchar", "char") else new)]
    if new != word:
        edits.append(replace_token(tokens[1], new))
    return [*edits, *_length(tokens, end, word, new)] if end > 1 else edits


def _length(tokens: tuple[Token, ...], end: int, word: str, new: str) -> list[Edit]:
    """What stands in the parentheses after the type: kept or dropped."""
    inside = [token.text.upper() for token in tokens[3:end]]
    whole = Edit(tokens[1].end, tokens[end].end, "")
    if word in INTEGER_TYPES or (new != word and new not in KEEPS_LENGTH) or (word == "float" and "," in inside):
        return [whole]
    if len(inside) == 2 and inside[1] in ("CHAR", "BYTE"):
        return [Edit(tokens[3].end, tokens[4].end, "")]
    return []


def _defaults(tokens: tuple[Token, ...], *, boolean: bool) -> list[Edit]:
    """DEFAULT 0, DEFAULT (0) and DEFAULT ((0)) of a boolean; DEFAULT "x" of anything."""
    edits: list[Edit] = []
    for i, token in enumerate(tokens):
        if token.word != "DEFAULT":
            continue
        value = i + 1
        while text_of(tokens, value) == "(":
            value += 1
        if boolean and text_of(tokens, value) in _FALSE_TRUE:
            edits.append(replace_token(tokens[value], _FALSE_TRUE[tokens[value].text]))
        elif value < len(tokens) and tokens[value].kind is Kind.NAME:
            edits.append(replace_token(tokens[value], "'" + tokens[value].identifier.replace("'", "''") + "'"))
    return edits


def _identity(tokens: tuple[Token, ...], at: int, start_value: str | None) -> list[Edit]:
    if tokens[1].text.lower() in ("serial", "bigserial", "smallserial"):
        return [replace_token(tokens[at], "")]
    options = f" (START WITH {start_value})" if start_value else ""
    end = at
    if text_of(tokens, at + 1) == "(":
        end = closing(tokens, at + 1) or at
        numbers = [token.text for token in tokens[at + 2 : end] if token.text != ","]
        if len(numbers) == 2 and all(number.isdigit() for number in numbers):
            options = f" (START WITH {numbers[0]} INCREMENT BY {numbers[1]})"
    return [Edit(tokens[at].start, tokens[end].end, f"GENERATED BY DEFAULT AS IDENTITY{options}")]


def _attributes(tokens: tuple[Token, ...], table: str) -> tuple[list[Edit], list[str]]:
    edits: list[Edit] = []
    after: list[str] = []
    for i, token in enumerate(tokens):
        following = text_of(tokens, i + 1)
        if token.word == "ON" and following == "UPDATE" and text_of(tokens, i + 2) in ("CURRENT_TIMESTAMP", "NOW"):
            raise Declined
        if token.word == "CHARACTER" and following == "SET" and i > 1:
            edits.append(Edit(token.start, tokens[i + 2].end, ""))
        elif token.word == "CHARSET":
            edits.append(Edit(token.start, tokens[i + 1].end, ""))
        elif token.word == "COLLATE" and tokens[i + 1].kind is Kind.WORD:
            if following in ("NOCASE", "RTRIM"):
                raise Declined
            edits.append(Edit(token.start, tokens[i + 1].end, ""))
        elif token.word == "COMMENT" and i + 1 < len(tokens) and tokens[i + 1].kind is Kind.STRING:
            edits.append(Edit(token.start, tokens[i + 1].end, ""))
            after.append(f"COMMENT ON COLUMN {table}.{tokens[0].text} IS {tokens[i + 1].text}")
        elif token.word in ("CLUSTERED", "NONCLUSTERED") or (
            token.word == "KEY" and text_of(tokens, i - 1) == "UNIQUE"
        ):
            edits.append(replace_token(token, ""))
        elif token.word == "AFTER" and i == len(tokens) - 2:
            edits.append(Edit(token.start, tokens[i + 1].end, ""))
        elif token.word == "FIRST" and i == len(tokens) - 1:
            edits.append(replace_token(token, ""))
    return edits, after
