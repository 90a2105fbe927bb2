"""The tables of a database, and how to read their rows: as bucket digests, or in full for chosen buckets.

A row's bucket is a hash of its key's text (of the whole row's where there is no key), so equal rows fall into equal
buckets on both sides. Hash seeds are random for each comparison: nobody can prepare rows that collide. Text comes
from the types' output functions by way of `record_out`, never from a cast, which the database's owner could define.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from orchestrator.capture.compare import Fields
from orchestrator.capture.session import Connection, statement, translated
from orchestrator.errors import CaptureError

_BUCKETS_PER_PAGE = 4
_MOST_BUCKETS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table as the catalog has it. `columns`: name to type, generated columns left out; `keys`: the sets of
    columns under which no two rows are alike and none is NULL, the primary key first."""

    schema: str
    name: str
    partitioned: bool
    columns: Mapping[str, str]
    keys: tuple[tuple[str, ...], ...]
    pages: int
    foreign_partition: str | None

    @property
    def source(self) -> sql.Composed:
        """What to read from: a partitioned table with its partitions, any other without inheriting tables.

        Raises CaptureError for a foreign partition: reading it would make the server connect elsewhere.
        """
        if self.foreign_partition is not None:
            raise CaptureError(
                f"The rows of {self.schema}.{self.name} cannot be compared: its partition "
                f"{self.foreign_partition} is a foreign table, whose rows live elsewhere."
            )
        only = sql.SQL("") if self.partitioned else sql.SQL("ONLY ")
        return sql.SQL("{}{}").format(only, sql.Identifier(self.schema, self.name))


def read_tables(cursor: psycopg.Cursor[tuple[Any, ...]], ignore_schemas: Sequence[str]) -> dict[tuple[str, str], Table]:
    """The tables by schema and name, in the order of their names."""
    cursor.execute(statement("tables"), {"ignored": list(ignore_schemas)})
    return {
        (schema, name): Table(
            schema=schema,
            name=name,
            partitioned=partitioned,
            columns=dict(columns),
            keys=tuple(tuple(key) for key in keys),
            pages=pages,
            foreign_partition=foreign,
        )
        for schema, name, partitioned, columns, keys, pages, foreign in cursor.fetchall()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucketing:
    """How the rows of one comparison are put into buckets and digested; the same on all sides."""

    key: tuple[str, ...]
    count: int
    seeds: tuple[int, int, int]

    @classmethod
    def choose(cls, key: tuple[str, ...], pages: int) -> Bucketing:
        """About a dozen rows to a bucket, so that a differing bucket costs little to read."""
        wanted = min(max(pages, 1) * _BUCKETS_PER_PAGE, _MOST_BUCKETS)
        return cls(
            key=key, count=1 << (wanted - 1).bit_length(), seeds=(_random_seed(), _random_seed(), _random_seed())
        )

    def bucket(self, columns: Sequence[str]) -> sql.Composed:
        text = _text(self.key or columns)
        return sql.SQL("{} OPERATOR(pg_catalog.&) {}").format(_hash(text, self.seeds[0]), sql.Literal(self.count - 1))


def digests(table: Table, columns: Sequence[str], by: Bucketing) -> sql.Composed:
    """The query for (bucket, rows, hash, hash), ordered by bucket. Sums, because equal rows would cancel in an xor."""
    return sql.SQL(
        "SELECT h.b, pg_catalog.count(*), pg_catalog.sum({first}), pg_catalog.sum({second})"
        " FROM (SELECT {bucket} AS b, {text} AS r FROM {source} AS t OFFSET 0) AS h GROUP BY h.b ORDER BY h.b"
    ).format(
        first=_hash(sql.SQL("h.r"), by.seeds[1]),
        second=_hash(sql.SQL("h.r"), by.seeds[2]),
        bucket=by.bucket(columns),
        text=_text(columns),
        source=table.source,
    )


def contents(
    table: Table, columns: Sequence[str], shown: Sequence[str], by: Bucketing, buckets: Sequence[int]
) -> sql.Composed:
    """The query for (bucket, *shown) of the rows in some buckets, ordered by bucket."""
    values = [
        sql.SQL("t.{} AS {}").format(sql.Identifier(name), sql.Identifier(f"c{number}"))
        for number, name in enumerate(shown)
    ]
    return sql.SQL(
        "SELECT h.* FROM (SELECT {values} FROM {source} AS t OFFSET 0) AS h"
        " WHERE h.b OPERATOR(pg_catalog.=) ANY ({buckets}::pg_catalog.int8[]) ORDER BY h.b"
    ).format(
        values=sql.SQL(", ").join([sql.SQL("{} AS b").format(by.bucket(columns)), *values]),
        source=table.source,
        buckets=sql.Literal("{" + ",".join(map(str, buckets)) + "}"),
    )


@contextmanager
def streamed(conn: Connection, cursor: psycopg.Cursor[Any], query: sql.Composed) -> Iterator[Iterator[Fields]]:
    """The query's rows as texts, as they arrive. The server works from the moment the block is entered."""
    with translated(conn), cursor.copy(sql.SQL("COPY ({}) TO STDOUT").format(query)) as copy:
        yield _rows(conn, copy)


def _rows(conn: Connection, copy: psycopg.Copy) -> Iterator[Fields]:
    with translated(conn):
        yield from copy.rows()


def _text(columns: Sequence[str]) -> sql.Composed:
    """One text for the values of some columns, different for different values (NULL and '' included)."""
    fields = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in columns)
    return sql.SQL("pg_catalog.textin(pg_catalog.record_out(ROW({})))").format(fields)


def _hash(text: sql.Composable, seed: int) -> sql.Composed:
    # A column's own collation may call different texts equal.
    return sql.SQL('pg_catalog.hashtextextended({} COLLATE pg_catalog."C", {}::pg_catalog.int8)').format(
        text, sql.Literal(str(seed))
    )


def _random_seed() -> int:
    return secrets.randbits(64) - (1 << 63)
