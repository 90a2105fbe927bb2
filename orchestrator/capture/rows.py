"""Exact row differences between two databases, table by table.

Each table is hashed in buckets on both sides; only buckets that differ are read, a bucket at a time, and compared value
by value. Memory grows with what differs, never with the tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from orchestrator.capture.compare import Draft, Fields, differing_buckets, key_of, keyed_drafts, multiset_drafts
from orchestrator.capture.edits import Row, RowEdit, SequenceChange, SequenceState, TableChange
from orchestrator.capture.sequences import diff_sequences
from orchestrator.capture.session import Connection, reading, statement
from orchestrator.capture.tables import Bucketing, Table, contents, digests, read_tables, streamed
from orchestrator.errors import CaptureError

__all__ = [
    "Row",
    "RowEdit",
    "SequenceChange",
    "SequenceState",
    "TableChange",
    "diff_sequences",
    "diff_tables",
]

_INTEGERS = ("smallint", "integer", "bigint")


def diff_tables(
    before: Connection,
    after: Connection,
    *,
    base: Connection | None = None,
    max_rows: int = 1_000_000,
    max_bytes: int = 512 << 20,
    ignore_schemas: Sequence[str] = ("forkyard",),
) -> tuple[TableChange, ...]:
    """How the rows of `after` differ from those of `before`, in the tables that both have, ordered by name.

    Columns are compared by name where both sides have them; generated ones are left out. `base` is the baseline
    from which both came; without one, `before` is the baseline. The connections must be idle and are left so; they
    need the rights of the tables' owner, no more. Nothing is written. Raises CaptureError for what cannot be
    read or proven, and for more than `max_rows` edits or `max_bytes` characters in them; ProviderUnavailable for a
    lost connection.
    """
    with ExitStack() as stack:
        sides = {
            conn: _Side.read(conn, stack.enter_context(reading(conn)), ignore_schemas)
            for conn in dict.fromkeys((before, after, base or before))
        }
        left, right, origin = sides[before], sides[after], sides[base or before]
        _compare_large_objects(left, right)
        limits = _Limits(rows=max_rows, size=max_bytes)
        changes = [
            _Comparison.between(left, right, origin, name).change(limits)
            for name in left.tables
            if name in right.tables
        ]
    return tuple(change for change in changes if change is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One database under comparison, inside its snapshot."""

    conn: Connection
    cursor: psycopg.Cursor[tuple[Any, ...]]
    tables: Mapping[tuple[str, str], Table]

    @classmethod
    def read(cls, conn: Connection, cursor: psycopg.Cursor[tuple[Any, ...]], ignore_schemas: Sequence[str]) -> _Side:
        return cls(conn=conn, cursor=cursor, tables=read_tables(cursor, ignore_schemas))


@dataclass(slots=True, kw_only=True)
class _Limits:
    """What may still be held in memory, over all tables."""

    rows: int
    size: int
    asked: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.asked = (self.rows, self.size)

    def take(self, table: Table, *, rows: int, size: int) -> None:
        """Raises CaptureError once there is more than was allowed: a part of a changeset is not a changeset."""
        self.rows -= rows
        self.size -= size
        if self.rows < 0 or self.size < 0:
            raise CaptureError(
                f"The run changed more than can be captured (at most {self.asked[0]:,} rows and "
                f"{self.asked[1]:,} characters); the limit was passed in table {table.schema}.{table.name}.",
                table=f"{table.schema}.{table.name}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """One table, which both sides have."""

    left: _Side
    right: _Side
    origin: _Side
    before: Table
    after: Table
    columns: tuple[str, ...]
    by: Bucketing

    @classmethod
    def between(cls, left: _Side, right: _Side, origin: _Side, name: tuple[str, str]) -> _Comparison:
        before, after = left.tables[name], right.tables[name]
        shared = (key for key in after.keys if any(set(key) == set(other) for other in before.keys))
        return cls(
            left=left,
            right=right,
            origin=origin,
            before=before,
            after=after,
            columns=tuple(column for column in after.columns if column in before.columns),
            by=Bucketing.choose(next(shared, ()), max(before.pages, after.pages)),
        )

    def change(self, limits: _Limits) -> TableChange | None:
        """The table's edits, or None if there are none."""
        if self.before.pages == self.after.pages == 0:
            return None
        with self._streams(*(digests(table, self.columns, self.by) for table in (self.before, self.after))) as (
            old,
            new,
        ):
            buckets = differing_buckets(old, new)
        if not buckets:
            return None
        drafts = sorted(self._drafts(buckets, limits), key=self._order)
        base_table = self.origin.tables.get((self.after.schema, self.after.name))
        base_rows = iter(self._base_rows(base_table, drafts, limits))
        return TableChange(
            schema=self.after.schema,
            table=self.after.name,
            key_columns=self.by.key,
            columns={name: self.after.columns[name] for name in self.columns},
            base_columns=None if base_table is None else base_table.columns,
            edits=tuple(self._edit(draft, next(base_rows)) for draft in drafts),
        )

    @contextmanager
    def _streams(
        self, before: sql.Composed, after: sql.Composed
    ) -> Iterator[tuple[Iterator[Fields], Iterator[Fields]]]:
        """Both queries at once: each server works while the other's rows are read."""
        with (
            streamed(self.left.conn, self.left.cursor, before) as old,
            streamed(self.right.conn, self.right.cursor, after) as new,
        ):
            yield old, new

    def _drafts(self, buckets: Sequence[int], limits: _Limits) -> Iterator[Draft]:
        queries = (contents(t, self.columns, self.columns, self.by, buckets) for t in (self.before, self.after))
        positions = [self.columns.index(name) for name in self.by.key]
        with self._streams(*queries) as (old, new):
            drafts = keyed_drafts(old, new, positions) if self.by.key else multiset_drafts(old, new)
            for draft in drafts:
                limits.take(self.after, rows=1, size=draft.size)
                yield draft

    def _order(self, draft: Draft) -> tuple[Any, ...]:
        if self.by.key:
            types = (self.after.columns[name] for name in self.by.key)
            # Numbers by value, so that a reader finds 9 before 10.
            return tuple(int(v) if t in _INTEGERS else v for v, t in zip(draft.key, types, strict=True))
        row = draft.before or draft.after or ()
        return tuple((value is not None, value or "") for value in row)

    def _base_rows(self, table: Table | None, drafts: Sequence[Draft], limits: _Limits) -> list[Row | None]:
        """The baseline's row for each draft, in the same order."""
        if self.origin is self.left:
            return [self._named(draft.before) for draft in drafts]
        if table is None:
            return [None] * len(drafts)
        if self.by.key:
            return self._keyed_base(table, drafts, limits)
        return self._multiset_base(table, drafts)

    def _keyed_base(self, table: Table, drafts: Sequence[Draft], limits: _Limits) -> list[Row | None]:
        if not any(set(key) == set(self.by.key) for key in table.keys):
            return [None] * len(drafts)
        shown = tuple(table.columns)
        positions = [shown.index(name) for name in self.by.key]
        wanted = {draft.key for draft in drafts}
        found: dict[tuple[str, ...], Row] = {}
        for row in self._origin_rows(table, shown, drafts):
            key = key_of(row, positions)
            if key in wanted:
                limits.take(table, rows=0, size=sum(len(value or "") for value in row))
                found[key] = dict(zip(shown, row, strict=True))
        return [found.get(draft.key) for draft in drafts]

    def _multiset_base(self, table: Table, drafts: Sequence[Draft]) -> list[Row | None]:
        """A deletion's base is the row itself as often as the baseline has it; an insertion has none."""
        if set(table.columns) != set(self.columns):
            return [None] * len(drafts)
        wanted = {draft.before for draft in drafts if draft.op == "delete"}
        copies = Counter(row for row in self._origin_rows(table, self.columns, drafts) if row in wanted)
        rows: list[Row | None] = []
        for draft in drafts:
            there = draft.before is not None and copies[draft.before] > 0
            copies.subtract([draft.before] if there and draft.before is not None else [])
            rows.append(self._named(draft.before) if there else None)
        return rows

    def _origin_rows(self, table: Table, shown: Sequence[str], drafts: Sequence[Draft]) -> Iterator[Fields]:
        buckets = sorted({draft.bucket for draft in drafts})
        query = contents(table, self.columns, shown, self.by, buckets)
        with streamed(self.origin.conn, self.origin.cursor, query) as rows:
            yield from (row[1:] for row in rows)

    def _named(self, row: Fields | None) -> Row | None:
        return None if row is None else dict(zip(self.columns, row, strict=True))

    def _edit(self, draft: Draft, base: Row | None) -> RowEdit:
        before, after = self._named(draft.before), self._named(draft.after)
        if before is not None and after is not None:
            after = {name: value for name, value in after.items() if value != before[name]}
        return RowEdit(op=draft.op, key=draft.key, before=before, after=after, base=base)


def _compare_large_objects(left: _Side, right: _Side) -> None:
    """Large objects have no place in a changeset yet, so a change to one must not go unseen."""
    states = []
    for side in (left, right):
        side.cursor.execute(statement("large_objects"))
        states.append(dict(side.cursor.fetchall()))
    differing = sorted(oid for oid, _ in states[0].items() ^ states[1].items())
    if differing:
        raise CaptureError(
            f"The run changed large object {differing[0]}, and large objects cannot be captured: keep such "
            "content in a bytea column."
        )
