"""Which tables and columns a statement can mean: the database's, and those that the migration made before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from orchestrator.migrations.fixers.base import FixContext
from orchestrator.migrations.fixers.text import closing, elements, failing_tokens, is_name, text_of, words
from orchestrator.migrations.lexer import Token
from orchestrator.migrations.names import Column, SchemaNames, Table
from orchestrator.migrations.split import split

_NO_COLUMN = frozenset(("CONSTRAINT", "PRIMARY", "FOREIGN", "UNIQUE", "CHECK", "EXCLUDE", "LIKE", "KEY", "INDEX"))
_AFTER_TABLE_WORD = frozenset(("IF", "NOT", "EXISTS", "ONLY"))


def names_at_failure(context: FixContext) -> SchemaNames:
    """The snapshot with the tables and columns that earlier statements of the migration made or renamed."""
    names = context.schema
    for statement in split(context.migration_so_far):
        tokens = words(statement.sql)
        if not statement.blank:
            names = _after(names, tokens)
    return names


def tables_in_scope(context: FixContext) -> tuple[Table, ...]:
    """The tables that the failing statement names."""
    names = names_at_failure(context)
    mentioned = {token.identifier for token in failing_tokens(context) if is_name(token)}
    return tuple(table for table in names.tables if table.name in mentioned)


def columns_in_scope(context: FixContext) -> tuple[str, ...]:
    """The names of all columns of those tables."""
    return tuple(column.name for table in tables_in_scope(context) for column in table.columns)


def created_table(tokens: Sequence[Token]) -> tuple[str, int] | None:
    """The name of the table (or view) that a CREATE statement makes, and the index after the name."""
    if text_of(tokens, 0) != "CREATE":
        return None
    at = next((i for i in range(1, min(6, len(tokens))) if tokens[i].word in ("TABLE", "VIEW")), None)
    return _name_at(tokens, at + 1) if at is not None else None


def _name_at(tokens: Sequence[Token], at: int) -> tuple[str, int] | None:
    while text_of(tokens, at) in _AFTER_TABLE_WORD:
        at += 1
    while text_of(tokens, at + 1) == ".":
        at += 2
    return (tokens[at].identifier, at + 1) if at < len(tokens) and is_name(tokens[at]) else None


def _after(names: SchemaNames, tokens: Sequence[Token]) -> SchemaNames:
    created = created_table(tokens)
    if created is not None:
        columns = _defined_columns(tokens, created[1])
        schema = names.search_path[0] if names.search_path else "public"
        return replace(names, tables=(*names.tables, Table(schema=schema, name=created[0], columns=columns)))
    if text_of(tokens, 0) == "ALTER" and text_of(tokens, 1) == "TABLE":
        altered = _name_at(tokens, 2)
        if altered is not None:
            return replace(names, tables=tuple(_alter(names.tables, altered[0], tokens)))
    return names


def _defined_columns(tokens: Sequence[Token], after_name: int) -> tuple[Column, ...]:
    opening = next((i for i in range(after_name, len(tokens)) if tokens[i].text == "("), None)
    end = closing(tokens, opening) if opening is not None else None
    if opening is None or end is None:
        return ()
    firsts = [tokens[first:last] for first, last in elements(tokens, opening, end) if last > first]
    return tuple(
        Column(name=element[0].identifier, type=element[1].text.lower() if len(element) > 1 else "")
        for element in firsts
        if is_name(element[0]) and element[0].word not in _NO_COLUMN
    )


def _alter(tables: Iterable[Table], name: str, tokens: Sequence[Token]) -> Iterable[Table]:
    for table in tables:
        yield _altered(table, tokens) if table.name == name else table


def _altered(table: Table, tokens: Sequence[Token]) -> Table:
    columns = list(table.columns)
    for i, token in enumerate(tokens):
        if token.word == "ADD":
            at = i + 2 if text_of(tokens, i + 1) == "COLUMN" else i + 1
            added = _name_at(tokens, at)
            if added is not None and text_of(tokens, at) not in _NO_COLUMN:
                columns.append(Column(name=added[0], type=text_of(tokens, added[1]).lower()))
        elif token.word == "RENAME" and "TO" in (
            text_of(tokens, i + 1),
            text_of(tokens, i + 2),
            text_of(tokens, i + 3),
        ):
            columns, table = _renamed(columns, table, tokens, i)
    return replace(table, columns=tuple(columns))


def _renamed(columns: list[Column], table: Table, tokens: Sequence[Token], i: int) -> tuple[list[Column], Table]:
    """RENAME TO new, or RENAME [COLUMN] old TO new."""
    if text_of(tokens, i + 1) == "TO":
        return columns, replace(table, name=tokens[i + 2].identifier if i + 2 < len(tokens) else table.name)
    old = i + 2 if text_of(tokens, i + 1) == "COLUMN" else i + 1
    if old + 2 >= len(tokens):
        return columns, table
    new = tokens[old + 2].identifier
    return [replace(c, name=new) if c.name == tokens[old].identifier else c for c in columns], table
