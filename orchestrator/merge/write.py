"""Writing the planned rows, table by table, so that keys, references and uniqueness hold at every step.

Children are emptied and changed before their parents, and filled after them. Where that order is not enough (a
row moves to a parent that is only inserted later) the foreign keys are deferred and all is done again; it is the
second try, not the first, because deferring locks readers out. Rows that exchange unique values are taken
out and put back, in two steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg
from psycopg import errors

from orchestrator.errors import MergeRefused
from orchestrator.merge import quiet, staging
from orchestrator.merge.catalog import (
    ForeignKey,
    Table,
    TableName,
    display,
    read_foreign_keys,
    read_unique_columns,
)
from orchestrator.merge.conflicts import Conflict
from orchestrator.merge.order import children_first, cyclic_columns
from orchestrator.merge.plan import TableWrites
from orchestrator.merge.session import Connection
from orchestrator.merge.staging import Stage

_REFERENCED = (errors.ForeignKeyViolation, errors.RestrictViolation)
_TAKEN = (errors.UniqueViolation, errors.ExclusionViolation)
SHOWN = 50


class Conflicting(Exception):
    """Conflicts that only show while rows are written; the transaction must be given up."""

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        self.conflicts = tuple(conflicts)
        super().__init__(f"{len(self.conflicts)} conflicts")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Staged:
    """One table's writes, staged: what is None has no row."""

    writes: TableWrites
    touched: tuple[str, ...]
    deletes: Stage | None
    updates: Stage | None
    inserts: Stage | None


def write(conn: Connection, planned: Sequence[TableWrites]) -> None:
    """Write all of it. Raises Conflicting, MergeRefused, PrivilegeMissing or a driver's error; then roll back."""
    staged = {writes.table.name: _stage(conn, writes, place) for place, writes in enumerate(planned)}
    staged = {name: one for name, one in staged.items() if one.deletes or one.updates or one.inserts}
    if not staged:
        return
    tables = [one.writes.table for one in staged.values()]
    foreign_keys = read_foreign_keys(conn, tables)
    unique = read_unique_columns(conn, tables)
    writer = _Writer(conn=conn, staged=staged, foreign_keys=foreign_keys, unique=unique)
    with ExitStack() as machinery:
        machinery.enter_context(quiet.without_side_effects(conn, tables))
        for one in staged.values():
            machinery.enter_context(quiet.settable(conn, one.writes.table, one.touched))
        try:
            with conn.transaction():
                writer.run()
        except _REFERENCED:
            _run_deferred(writer)


def _run_deferred(writer: _Writer) -> None:
    try:
        with quiet.deferred(writer.conn, writer.foreign_keys):
            writer.run()
    except _REFERENCED as exc:
        raise Conflicting([_dangling(exc)]) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    conn: Connection
    staged: Mapping[TableName, _Staged]
    foreign_keys: Sequence[ForeignKey]
    unique: Mapping[TableName, frozenset[str]]

    def run(self) -> None:
        order = children_first(self.staged, self.foreign_keys)
        early = cyclic_columns(self.staged, self.foreign_keys)
        for name in order:
            self._update(self.staged[name], only=early.get(name, frozenset()))
        for name in order:
            self._delete(self.staged[name])
            self._update(self.staged[name], only=None)
        for name in reversed(order):
            self._insert(self.staged[name])

    def _delete(self, one: _Staged) -> None:
        writes = one.writes
        if one.deletes is None:
            return
        if writes.key_columns:
            self._nothing_depends(one, one.deletes)
            count = staging.delete(self.conn, writes.table, writes.key_columns, one.deletes)
        else:
            self._nothing_acts(writes.table)
            count = staging.delete_copies(self.conn, writes.table, writes.columns, one.deletes)
        _all_written(writes.table, "deleted", count, len(writes.deletes))

    def _update(self, one: _Staged, *, only: frozenset[str] | None) -> None:
        columns = [name for name in one.touched if only is None or name in only]
        if one.updates is None or not columns:
            return
        writes = one.writes
        try:
            with self.conn.transaction():
                count = staging.update(self.conn, writes.table, writes.key_columns, one.updates, one.touched, columns)
        except _TAKEN as exc:
            count = self._exchange(one, one.updates, exc)
        _all_written(writes.table, "updated", count, len(writes.updates))

    def _insert(self, one: _Staged) -> None:
        if one.inserts is None:
            return
        table = one.writes.table
        try:
            count = staging.insert(self.conn, table, one.writes.columns, one.inserts)
        except _TAKEN as exc:
            raise Conflicting([_taken(table, exc)]) from exc
        _all_written(table, "inserted", count, len(one.writes.inserts))

    def _exchange(self, one: _Staged, updates: Stage, first: psycopg.Error) -> int:
        """Update rows that pass unique values among each other: take them out, change the rest, put them back."""
        table, keys, touched = one.writes.table, one.writes.key_columns, one.touched
        if any(key.parent == table.name and key.acts for key in self.foreign_keys):
            raise MergeRefused(
                f"rows of table {display(table.name)} exchange unique values, which cannot be done while other "
                "tables refer to it with ON DELETE CASCADE or SET NULL: write the exchange as a migration",
                table=display(table.name),
            ) from first
        unique = sorted(self.unique.get(table.name, frozenset()))
        names = [column.name for column in table.columns.values() if not column.generated]
        try:
            moved = staging.take_out(self.conn, table, keys, updates, touched, unique)
            count = staging.update(self.conn, table, keys, updates, touched, touched, sparing=unique)
            return count + staging.insert(self.conn, table, names, moved)
        except _TAKEN as exc:
            raise Conflicting([_taken(table, exc)]) from exc

    def _nothing_depends(self, one: _Staged, deletes: Stage) -> None:
        """Rows that refer to a deleted one and are not in the changeset: the target made them since."""
        parent = one.writes.table
        for key in self.foreign_keys:
            if key.parent != parent.name:
                continue
            child = self.staged.get(key.child)
            gone = None
            if child is not None and child.deletes is not None and child.writes.key_columns:
                gone = (child.deletes, [child.writes.table.columns[name] for name in child.writes.key_columns])
            rows = staging.referencing(
                self.conn,
                parent=parent,
                parent_key=one.writes.key_columns,
                parent_columns=key.parent_columns,
                deleted=deletes,
                child=key.child,
                child_columns=key.child_columns,
                child_deleted=gone,
                limit=SHOWN,
            )
            if rows:
                raise Conflicting([_depends(key, row) for row in rows])

    def _nothing_acts(self, table: Table) -> None:
        if any(key.parent == table.name and key.acts for key in self.foreign_keys):
            raise MergeRefused(
                f"rows of table {display(table.name)} were deleted; it has no key, yet other tables refer to it with "
                "ON DELETE CASCADE or SET NULL: give it a primary key",
                table=display(table.name),
            )


def _stage(conn: Connection, writes: TableWrites, place: int) -> _Staged:
    table = writes.table
    keys = [table.columns[name] for name in writes.key_columns]
    changed = {name for _, changes in writes.updates for name in changes}
    touched = tuple(name for name in writes.columns if name in changed)
    everything = [table.columns[name] for name in writes.columns]
    deletes = updates = inserts = None
    if writes.deletes:
        deletes = staging.put(conn, f"forkyard_delete_{place}", keys or everything, writes.deletes)
    if writes.updates:
        columns = [*keys, *(table.columns[name] for name in touched)]
        rows = [
            (*key, *(changes.get(n) for n in touched), "".join("1" if n in changes else "0" for n in touched))
            for key, changes in writes.updates
        ]
        updates = staging.put(conn, f"forkyard_update_{place}", columns, rows, extra=("forkyard_mask",))
    if writes.inserts:
        full = [tuple(row.get(name) for name in writes.columns) for row in writes.inserts]
        inserts = staging.put(conn, f"forkyard_insert_{place}", everything, full)
    return _Staged(writes=writes, touched=touched, deletes=deletes, updates=updates, inserts=inserts)


def _all_written(table: Table, what: str, count: int, wanted: int) -> None:
    if count != wanted:
        raise MergeRefused(
            f"{wanted} rows of table {display(table.name)} were to be {what} on the target, but {count} were: "
            "something on the target keeps rows back, or they changed just now; try again",
            table=display(table.name),
        )


def _taken(table: Table, exc: psycopg.Error) -> Conflict:
    detail = exc.diag.message_detail or exc.diag.message_primary or str(exc)
    return Conflict(
        kind="unique",
        table=display(table.name),
        key_columns=(),
        key=(),
        note=f"{exc.diag.constraint_name or 'a unique index'}: {detail}",
    )


def _dangling(exc: psycopg.Error) -> Conflict:
    """A reference that holds in the run and not on the target, which deleted the row or never had it."""
    detail = exc.diag.message_detail or exc.diag.message_primary or str(exc)
    return Conflict(
        kind="row-deleted",
        table=display((exc.diag.schema_name or "public", exc.diag.table_name or "?")),
        key_columns=(),
        key=(),
        note=f"a row that the run refers to: {exc.diag.constraint_name}: {detail}",
    )


def _depends(key: ForeignKey, row: Sequence[str | None]) -> Conflict:
    values = tuple(value or "" for value in row)
    return Conflict(
        kind="row-referenced",
        table=display(key.parent),
        key_columns=key.parent_columns,
        key=values,
        note=f"the run deleted it, and table {display(key.child)} of the target has rows that refer to it ({key.name})",
    )
