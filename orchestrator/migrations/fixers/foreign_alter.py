"""The foreign rule's ALTER TABLE: MODIFY and CHANGE (MySQL), ALTER COLUMN c type (SQL Server), ADD KEY."""

from __future__ import annotations

from orchestrator.migrations.fixers.foreign_columns import ColumnEdits, Declined, column_edits
from orchestrator.migrations.fixers.text import Edit, closing, elements, is_name, placed, rewrite, text_of, words
from orchestrator.migrations.fixers.types import is_type_name
from orchestrator.migrations.lexer import Kind, Token
from orchestrator.migrations.names import SchemaNames
from orchestrator.migrations.split import split

_ALTER_WORDS = frozenset(("TYPE", "SET", "DROP", "ADD", "RESTART"))


def rewrite_alters(sql: str, schema: SchemaNames) -> str:
    edits: list[Edit] = []
    for piece in split(sql):
        tokens = placed(piece)
        if piece.keywords[:2] == ("RENAME", "TABLE") and text_of(tokens, 3) == "TO":
            edits += (
                Edit(tokens[0].start, tokens[1].end, "ALTER TABLE"),
                Edit(tokens[3].start, tokens[3].end, "RENAME TO"),
            )
        elif piece.keywords[:2] == ("ALTER", "TABLE"):
            edits += _alter(tokens, schema, piece.end)
    return rewrite(sql, edits)


def _alter(tokens: tuple[Token, ...], schema: SchemaNames, end_of_piece: int) -> list[Edit]:
    at = 2
    while text_of(tokens, at + 1) == ".":
        at += 2
    if at >= len(tokens):
        return []
    table, written = tokens[at].identifier, "".join(token.text for token in tokens[2 : at + 1])
    stop = len(tokens) - (1 if tokens[-1].text == ";" else 0)
    edits: list[Edit] = []
    moved: list[str] = []
    actions = elements(tokens, at, stop)
    adds = text_of(tokens, actions[0][0]) == "ADD"
    for begin, end in actions:
        action = tokens[begin:end]
        if adds and len(action) > 1 and is_name(action[0]) and is_type_name(action[1].text) and begin > at + 1:
            # SQL Server says ADD once for several columns.
            edits.append(Edit(action[0].start, action[0].start, "ADD "))
            continue
        new = _changed(action, schema, table)
        statement = None if new is not None else _index(action, written)
        if statement is not None and len(actions) == 1:
            return [Edit(tokens[0].start, tokens[stop - 1].end, statement)]
        if statement is not None:
            raise Declined
        if new is not None:
            text, rename = new
            moved += [f"\nALTER TABLE {written} RENAME COLUMN {rename};"] if rename else []
            edits.append(Edit(action[0].start, action[-1].end, text))
    if moved:
        ended = tokens[-1].text == ";"
        edits.append(Edit(end_of_piece, end_of_piece, ("" if ended else ";") + "".join(moved)))
    return edits


def _changed(action: tuple[Token, ...], schema: SchemaNames, table: str) -> tuple[str, str | None] | None:
    """The PostgreSQL form of one action, and "old TO new" where it also renames; None if it is not foreign."""
    first = text_of(action, 0)
    at = 2 if text_of(action, 1) == "COLUMN" else 1
    if first == "MODIFY" and len(action) > at + 1:
        return _definition(action[at].text, action[at + 1 :], schema, table), None
    if first == "CHANGE" and len(action) > at + 2:
        old, new = action[at], action[at + 1]
        rename = f"{old.text} TO {new.text}" if old.identifier != new.identifier else None
        return _definition(old.text, action[at + 2 :], schema, table), rename
    if first == "ALTER" and len(action) > at + 1 and action[at + 1].word not in _ALTER_WORDS and is_name(action[at]):
        return _definition(action[at].text, action[at + 1 :], schema, table), None
    unique = first == "ADD" and text_of(action, 1) == "UNIQUE" and text_of(action, 2) in ("KEY", "INDEX")
    if unique and text_of(action, 4) == "(":
        return f"ADD CONSTRAINT {action[3].text} UNIQUE " + _joined(action[4:]), None
    return None


def _definition(column: str, tokens: tuple[Token, ...], schema: SchemaNames, table: str) -> str:
    """type [NOT NULL | NULL] [DEFAULT value] as ALTER COLUMN actions. What else it may hold is declined.

    MySQL's MODIFY without NOT NULL makes the column nullable: a constraint that would fall is declined.
    """
    end = (closing(tokens, 1) or 0) + 1 if text_of(tokens, 1) == "(" else 1
    type_text = _type(column, tokens[:end], schema)
    rest = list(tokens[end:])
    actions = [f"ALTER COLUMN {column} TYPE {type_text}"]
    not_null = False
    while rest:
        word = rest[0].word
        if word == "NOT" and text_of(rest, 1) == "NULL":
            actions.append(f"ALTER COLUMN {column} SET NOT NULL")
            not_null, rest = True, rest[2:]
        elif word == "NULL":
            rest = rest[1:]
        elif word == "DEFAULT" and len(rest) > 1 and (rest[1].kind in (Kind.STRING, Kind.NUMBER) or rest[1].word):
            actions.append(f"ALTER COLUMN {column} SET DEFAULT {rest[1].text}")
            rest = rest[2:]
        else:
            raise Declined
    present = schema.table(table)
    known = present.column(column.strip('"').lower()) if present else None
    if known is not None and known.not_null and not not_null:
        raise Declined
    return ", ".join(actions)


def _type(column: str, tokens: tuple[Token, ...], schema: SchemaNames) -> str:
    """The type alone, translated as in CREATE TABLE; one that needs a CHECK is declined."""
    definition = f"{column} {_joined(tokens)}"
    how = ColumnEdits(types=frozenset(schema.types), sql_server=False)
    edits, _ = column_edits(words(definition), "", how, None)
    new = rewrite(definition, edits).removeprefix(column).strip()
    if "CHECK" in new:
        raise Declined
    return new


def _index(action: tuple[Token, ...], table: str) -> str | None:
    """ADD INDEX name (cols) as a statement of its own."""
    if text_of(action, 0) != "ADD" or text_of(action, 1) not in ("INDEX", "KEY"):
        return None
    opening = 2 if text_of(action, 2) == "(" else 3
    if text_of(action, opening) != "(":
        return None
    name = action[2].text + " " if opening == 3 else ""
    return f"CREATE INDEX {name}ON {table} {_joined(action[opening:])}"


def _joined(tokens: tuple[Token, ...]) -> str:
    """Tokens as text: commas with a space, the rest tight."""
    return "".join(token.text + (" " if token.text == "," else "") for token in tokens)
