"""The names that exist in a database: what fixers may know of it. Never a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Self

import psycopg

_QUERY = resources.files(__package__).joinpath("sql/schema_names.sql").read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`type` as format_type writes it; `special` is an identity or generated column."""

    name: str
    type: str
    not_null: bool = False
    default: str | None = None
    special: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table, view or foreign table. `constraints` and `indexes` map a name to the server's own definition."""

    schema: str
    name: str
    kind: str = "r"
    columns: tuple[Column, ...] = ()
    constraints: Mapping[str, str] = field(default_factory=dict)
    indexes: Mapping[str, str] = field(default_factory=dict)

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaNames:
    """A snapshot, without the system's own schemas (functions and types of pg_catalog are not listed)."""

    tables: tuple[Table, ...] = ()
    schemas: tuple[str, ...] = ("public",)
    search_path: tuple[str, ...] = ("public",)
    functions: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(
            tables=tuple(_table(fields) for fields in value["tables"] or ()),
            **{
                name: tuple(value[name] or ())
                for name in ("schemas", "search_path", "functions", "types", "extensions")
            },
        )

    def table(self, name: str, schema: str | None = None) -> Table | None:
        """The table that the server would find: in the given schema, or the first along the search path."""
        for where in (schema,) if schema else self.search_path:
            for table in self.tables:
                if table.name == name and table.schema == where:
                    return table
        return None

    def visible(self) -> Iterable[Table]:
        """Tables that need no schema before their name."""
        return (table for table in self.tables if self.table(table.name) is table)


def read_names(conn: psycopg.Connection[Any]) -> SchemaNames:
    """One catalog query, in a transaction of its own; raises psycopg.Error."""
    with conn.transaction():
        row = conn.execute(_QUERY, prepare=False).fetchone()
    assert row is not None
    return SchemaNames.from_json(row[0])


def _table(fields: Mapping[str, Any]) -> Table:
    return Table(
        schema=fields["schema"],
        name=fields["name"],
        kind=fields["kind"],
        columns=tuple(Column(**column) for column in fields["columns"] or ()),
        constraints=fields["constraints"] or {},
        indexes=fields["indexes"] or {},
    )
