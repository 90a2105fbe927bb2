"""What the merge must know of the target's tables: columns, foreign keys, triggers, sequences that feed keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import psycopg
from psycopg import sql

TableName = tuple[str, str]
"""(schema, table)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`type` is as `format_type` prints it, qualified because the search path is `pg_catalog` alone; `plain_type`
    is the type below its domains, without modifiers, so that it holds NULL and any length.

    `computed_default` says that the default is more than a literal: its value may differ from run to run.
    """

    name: str
    type: str
    plain_type: str
    equality_schema: str
    generated: bool
    identity_always: bool
    computed_default: bool

    @property
    def staged_type(self) -> sql.SQL:
        """`plain_type` as a piece of SQL; the text is the server's own, quoted by it."""
        return sql.SQL(self.plain_type)

    @property
    def equals(self) -> sql.Composed:
        """The type's equality operator: the search path is pinned, so it must be named in full."""
        return sql.SQL("OPERATOR({}.=)").format(sql.Identifier(self.equality_schema))

    @property
    def is_timestamp(self) -> bool:
        return self.type.startswith("timestamp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of the target as it is now."""

    oid: int
    name: TableName
    partitioned: bool
    columns: Mapping[str, Column]

    @property
    def rows(self) -> sql.Composed:
        """What to read, update or delete from: the table without what inherits from it, which is other tables."""
        only = sql.SQL("") if self.partitioned else sql.SQL("ONLY ")
        return sql.SQL("{}{}").format(only, identifier(self.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """`acts` says that deleting a referenced row changes or deletes the referencing ones."""

    name: str
    child: TableName
    parent: TableName
    child_columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    deferrable: bool
    acts: bool
    owned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SideEffect:
    """A trigger or rule of the user's that is switched on, or forced row security.

    `state` is pg_trigger's: O(rigin) or A(lways); F(orced) for row security.
    """

    table: TableName
    kind: Literal["trigger", "rule", "row security"]
    name: str
    state: str
    owned: bool


def identifier(name: TableName) -> sql.Identifier:
    return sql.Identifier(*name)


def display(name: TableName) -> str:
    """The table as a person writes it: without schema where that is `public`."""
    return name[1] if name[0] == "public" else ".".join(name)


def read_tables(conn: psycopg.Connection[Any], names: Iterable[TableName]) -> dict[TableName, Table]:
    """Those of the tables that exist, ordinary or partitioned."""
    wanted = sorted(set(names))
    rows = conn.execute(
        query("columns"), {"schemas": [name[0] for name in wanted], "names": [name[1] for name in wanted]}
    ).fetchall()
    found: dict[TableName, tuple[int, bool]] = {}
    columns: dict[TableName, dict[str, Column]] = {}
    for oid, schema, table, partitioned, name, type_name, plain_type, equality, generated, identity, computed in rows:
        found[schema, table] = oid, partitioned
        columns.setdefault((schema, table), {})[name] = Column(
            name=name,
            type=type_name,
            plain_type=plain_type,
            equality_schema=equality or "pg_catalog",
            generated=generated != "",
            identity_always=identity == "a",
            computed_default=computed,
        )
    return {
        name: Table(oid=oid, name=name, partitioned=partitioned, columns=columns[name])
        for name, (oid, partitioned) in found.items()
    }


def read_foreign_keys(conn: psycopg.Connection[Any], tables: Iterable[Table]) -> tuple[ForeignKey, ...]:
    """All foreign keys from or to the tables."""
    return tuple(
        ForeignKey(
            name=row[0],
            child=(row[1], row[2]),
            parent=(row[3], row[4]),
            child_columns=tuple(row[5]),
            parent_columns=tuple(row[6]),
            deferrable=row[7],
            acts=row[8],
            owned=row[9],
        )
        for row in _for_tables(conn, "foreign_keys", tables)
    )


def read_side_effects(conn: psycopg.Connection[Any], tables: Iterable[Table]) -> tuple[SideEffect, ...]:
    """The user's triggers and rules that writing to the tables would set off."""
    return tuple(
        SideEffect(table=(schema, table), kind=kind, name=name, state=state, owned=owned)
        for schema, table, kind, name, state, owned in _for_tables(conn, "side_effects", tables)
    )


def read_unique_columns(conn: psycopg.Connection[Any], tables: Iterable[Table]) -> dict[TableName, frozenset[str]]:
    """Per table the columns that unique and exclusion indexes read."""
    found: dict[TableName, set[str]] = {}
    for schema, table, column in _for_tables(conn, "unique_columns", tables):
        found.setdefault((schema, table), set()).add(column)
    return {name: frozenset(columns) for name, columns in found.items()}


def read_feeding_sequences(
    conn: psycopg.Connection[Any], tables: Iterable[Table]
) -> dict[tuple[TableName, str], tuple[TableName, ...]]:
    """(table, column) → the sequences that give the column its values."""
    found: dict[tuple[TableName, str], list[TableName]] = {}
    for schema, table, column, seq_schema, seq in _for_tables(conn, "key_sequences", tables):
        found.setdefault(((schema, table), column), []).append((seq_schema, seq))
    return {key: tuple(names) for key, names in found.items()}


@cache
def query(name: str) -> bytes:
    """The catalog query of that name, from `sql/`."""
    return files(__package__).joinpath("sql", f"{name}.sql").read_bytes()


def _for_tables(conn: psycopg.Connection[Any], name: str, tables: Iterable[Table]) -> Sequence[tuple[Any, ...]]:
    return conn.execute(query(name), {"tables": [table.oid for table in tables]}).fetchall()
