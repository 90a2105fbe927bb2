"""Something of that name exists already: passed over only where it is provably the same.

The proof is by the snapshot: a column's type, constraint and default; an index's own definition; a table's columns
one by one. What cannot be compared (a table with constraints beyond these, a view, a function) is left alone.
"""

from __future__ import annotations

import re

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import Edit, closing, elements, failing_tokens, rewrite, text_of
from orchestrator.migrations.lexer import Token, lex, significant
from orchestrator.migrations.names import Column, Table

_SAME_TYPES = {
    "int": "integer",
    "int4": "integer",
    "int8": "bigint",
    "int2": "smallint",
    "bool": "boolean",
    "varchar": "character varying",
    "char": "character",
    "decimal": "numeric",
    "float8": "double precision",
    "float4": "real",
    "timestamptz": "timestamp with time zone",
    "timestamp": "timestamp without time zone",
    "timetz": "time with time zone",
    "time": "time without time zone",
}
_IF_NOT_EXISTS = "IF NOT EXISTS "


def repair(context: FixContext) -> Fix | None:
    tokens = failing_tokens(context)
    if text_of(tokens, 0) not in ("CREATE", "ALTER"):
        return None
    match context.error.sqlstate:
        case "42701":
            place = _same_column(context, tokens)
        case "42P07":
            place = _same_index(context, tokens) or _same_table(context, tokens)
        case "42P06" | "42710" if text_of(tokens, 1) in ("SCHEMA", "EXTENSION"):
            alone = all(text_of(tokens, i) != "AUTHORIZATION" for i in range(len(tokens))) and len(tokens) <= 4
            place = tokens[2].start if alone else None
        case _:
            return None
    if place is None:
        return None
    edited = rewrite(context.sql, [Edit(place, place, _IF_NOT_EXISTS)])
    return Fix(sql=edited, note="passed over what exists already in the same form")


def _same_column(context: FixContext, tokens: tuple[Token, ...]) -> int | None:
    """ALTER TABLE t ADD [COLUMN] c type [NOT NULL] [DEFAULT literal], and nothing else in the statement."""
    message = re.match(r'^column "(?P<column>.+)" of relation "(?P<table>.+)" already exists$', context.error.message)
    add = next((i for i, token in enumerate(tokens) if token.word == "ADD"), None)
    if message is None or add is None or text_of(tokens, 1) != "TABLE":
        return None
    first = add + 2 if text_of(tokens, add + 1) == "COLUMN" else add + 1
    end = len(tokens) - (1 if tokens[-1].text == ";" else 0)
    table = context.schema.table(message["table"])
    column = table.column(message["column"]) if table else None
    if column is None or len(elements(tokens, add, end)) != 1 or not _is_column(tokens[first:end], column):
        return None
    return tokens[first].start


def _same_index(context: FixContext, tokens: tuple[Token, ...]) -> int | None:
    index = next((i for i, token in enumerate(tokens[:3]) if token.word == "INDEX"), None)
    if index is None or text_of(tokens, index + 2) != "ON":
        return None
    name = tokens[index + 1].identifier
    definition = next((table.indexes[name] for table in context.schema.visible() if name in table.indexes), None)
    if definition is None or _index_form(tokens) != _index_form(significant(lex(definition))):
        return None
    return tokens[index + 1].start


def _index_form(tokens: tuple[Token, ...]) -> tuple[str, ...]:
    """The server writes the schema and USING btree out; both are left away. Anything more must be equal."""
    form: list[str] = []
    for i, token in enumerate(tokens):
        default_method = "BTREE" in (token.text.upper(), text_of(tokens, i + 1))
        schema = text_of(tokens, i - 1) in ("ON", "PUBLIC") and "PUBLIC" in (token.text.upper(), text_of(tokens, i - 1))
        if token.text != ";" and not default_method and not schema:
            form.append(token.identifier or token.text)
    return tuple(form)


def _same_table(context: FixContext, tokens: tuple[Token, ...]) -> int | None:
    """CREATE TABLE t (c type [NOT NULL] [PRIMARY KEY] [DEFAULT literal], …) and nothing else."""
    if text_of(tokens, 1) != "TABLE" or text_of(tokens, 3) != "(":
        return None
    table = context.schema.table(tokens[2].identifier)
    end = closing(tokens, 3)
    if table is None or end is None or any(token.text != ";" for token in tokens[end + 1 :]):
        return None
    definitions = [tokens[first:last] for first, last in elements(tokens, 3, end)]
    if len(definitions) != len(table.columns) or table.kind != "r":
        return None
    same = all(_is_column(d, c, table) for d, c in zip(definitions, table.columns, strict=True))
    keys = [d[0].identifier for d in definitions if any(t.word == "PRIMARY" for t in d)]
    return tokens[2].start if same and _only_this_key(table, keys) else None


def _only_this_key(table: Table, keys: list[str]) -> bool:
    wanted = [f"PRIMARY KEY ({', '.join(keys)})"] if keys else []
    return [d for d in table.constraints.values() if not d.startswith("NOT NULL")] == wanted


def _is_column(definition: tuple[Token, ...], column: Column, table: Table | None = None) -> bool:
    """Whether a definition says exactly what the column is."""
    if len(definition) < 2 or definition[0].identifier != column.name or column.special:
        return False
    words = [token.text.lower() for token in definition[1:]]
    written = " ".join(words)
    not_null = primary = False
    if table is not None and written.endswith(" primary key"):
        written, primary = written.removesuffix(" primary key"), True
    if written.endswith(" not null"):
        written, not_null = written.removesuffix(" not null"), True
    type_text, _, default = written.partition(" default ")
    return (
        _canonical(type_text) == column.type
        and (not_null or primary) == column.not_null
        and (default or None) == (column.default.lower() if column.default else None)
    )


def _canonical(type_text: str) -> str:
    """The type as format_type writes it: `varchar ( 20 )` → `character varying(20)`."""
    head, _, rest = type_text.partition(" (")
    suffix = "(" + rest.replace(" ", "") if rest else ""
    return _SAME_TYPES.get(head, head) + suffix
