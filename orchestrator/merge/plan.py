"""From a changeset to what must be written: the check before the replay, and the plan after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from orchestrator.capture.edits import RowEdit, TableChange
from orchestrator.errors import MergeRefused
from orchestrator.merge import recognise, staging
from orchestrator.merge.catalog import Column, Table, display
from orchestrator.merge.conflicts import Conflict, ConflictKind
from orchestrator.merge.recognise import Window
from orchestrator.merge.session import Connection
from orchestrator.merge.staging import Key, Stage
from orchestrator.merge.three_way import Row, Verdict, decide, differing

REPLAYED = "the run's migrations do not make this row on the target as they did for the run"
NOT_FOUND = "no row of the target is certain to be the one that the run's migrations made"


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What a table held before the replay.

    `present` has the rows under the changeset's keys; None where they could not be looked up, because
    a migration makes the table or renames it or its key. `all_keys` are kept where a row may have to be recognised.
    """

    existed: bool
    present: Mapping[Key, Row] | None
    all_keys: Stage | None = None


@dataclass(slots=True, kw_only=True)
class TableWrites:
    """What one table gets. Rows under `deletes` and `updates` are known to be there, those of `inserts` not to be.

    For a table without a key `deletes` holds whole rows.
    """

    table: Table
    key_columns: tuple[str, ...]
    columns: tuple[str, ...]
    deletes: list[tuple[str | None, ...]] = field(default_factory=list)
    updates: list[tuple[Key, Row]] = field(default_factory=list)
    inserts: list[Row] = field(default_factory=list)
    already: int = 0


def look(conn: Connection, change: TableChange, table: Table | None, place: int) -> Before:
    """Read the rows that the changeset is about, before any migration; `place` numbers the tables."""
    if table is None or not change.key_columns:
        return Before(existed=table is not None, present={})
    if any(name not in table.columns for name in change.key_columns):
        return Before(existed=True, present=None)
    typed = all(table.columns[name].type == change.columns[name] for name in change.key_columns)
    keys = [edit.key for edit in change.edits]
    present = staging.rows_by_key(conn, table, change.key_columns, keys, typed=typed)
    all_keys = None
    if any(edit.op == "delete" and edit.base is None for edit in change.edits):
        all_keys = staging.remember_keys(conn, f"forkyard_before_{place}", table, change.key_columns)
    return Before(existed=True, present=present, all_keys=all_keys)


def touched_rows(change: TableChange, before: Before) -> Iterator[Conflict]:
    """The rows of the baseline that both the run and the target changed."""
    if not change.key_columns or before.present is None:
        return
    for edit in change.edits:
        if edit.base is None:
            continue
        there = before.present.get(edit.key)
        theirs = None if there is None else {name: there[name] for name in edit.base if name in there}
        decision = decide(base=edit.base, mine=edit.after, theirs=theirs)
        if decision.verdict is Verdict.CONFLICT and decision.kind is not None:
            mine = None if edit.after is None else {**edit.base, **edit.after}
            yield from _conflicts(change, edit, decision.kind, decision.columns, edit.base, mine, theirs)


def plan(
    conn: Connection, change: TableChange, table: Table | None, before: Before, window: Window, *, replayed: bool
) -> tuple[TableWrites, list[Conflict]]:
    """What to write after the replay, so that the rows of the changeset hold the run's values."""
    name = (change.schema, change.table)
    if table is None or any(column not in table.columns for column in change.columns):
        raise MergeRefused(
            f"table {display(name)} is not on the target what it is in the run after the same migrations: "
            "they depend on more than the baseline, so that this run cannot be replayed",
            table=display(name),
        )
    writes = TableWrites(table=table, key_columns=change.key_columns, columns=tuple(change.columns))
    if not change.key_columns:
        return writes, _plan_copies(conn, change, writes, replayed=replayed)
    planner = _Planner(change=change, before=before, window=window, writes=writes)
    keys = [edit.key for edit in change.edits]
    now = staging.rows_by_key(conn, table, change.key_columns, keys)
    for edit in change.edits:
        planner.add(edit, now.get(edit.key))
    planner.find_lost(conn, {edit.key for edit in change.edits})
    return writes, planner.conflicts


@dataclass(slots=True, kw_only=True)
class _Planner:
    change: TableChange
    before: Before
    window: Window
    writes: TableWrites
    conflicts: list[Conflict] = field(default_factory=list)
    lost: list[RowEdit] = field(default_factory=list)

    def add(self, edit: RowEdit, now: Row | None) -> None:
        if edit.op == "insert":
            self._insert(edit, edit.after or {}, now)
        elif edit.op == "update":
            self._update(edit, edit.before or {}, edit.after or {}, now)
        else:
            self._delete(edit, edit.before or {}, now)

    def _insert(self, edit: RowEdit, mine: Row, now: Row | None) -> None:
        if now is None:
            self.writes.inserts.append(mine)
        elif edit.base is not None:
            self._set(edit.key, mine, now)
        elif not (columns := self._compared(mine, now)):
            self.writes.already += 1
        elif self.before.present is not None and edit.key in self.before.present:
            self.conflicts.extend(_conflicts(self.change, edit, "row-inserted", columns, None, mine, now))
        else:
            self._ambiguous(edit, columns, mine, now, REPLAYED)

    def _update(self, edit: RowEdit, seen: Row, mine: Row, now: Row | None) -> None:
        if now is None:
            self._ambiguous(edit, (), mine, now, NOT_FOUND)
        elif edit.base is not None or self._is_seen(edit.key, seen, now):
            self._set(edit.key, mine, now)
        elif not self._compared({**seen, **mine}, now):
            self.writes.already += 1
        else:
            self._ambiguous(edit, self._compared(seen, now), mine, now, REPLAYED)

    def _delete(self, edit: RowEdit, seen: Row, now: Row | None) -> None:
        if edit.base is not None:
            if now is None:
                self.writes.already += 1
            else:
                self.writes.deletes.append(edit.key)
        elif now is not None and self._is_seen(edit.key, seen, now):
            self.writes.deletes.append(edit.key)
        else:
            self.lost.append(edit)

    def find_lost(self, conn: Connection, keys: set[Key]) -> None:
        """Rows that a migration made for the run and the run no longer has: find what they are on the target."""
        if not self.lost:
            return
        found: list[Key] | None = None
        table, key_columns = self.writes.table, self.change.key_columns
        if not self.before.existed or self.before.all_keys is not None:
            created = staging.rows_beyond(conn, table, key_columns, self.before.all_keys)
            settled = {tuple(k or "" for k in key) for key in self.writes.deletes} | (keys - {e.key for e in self.lost})
            rows = [row for row in created if tuple(row[name] or "" for name in key_columns) not in settled]
            seen = [edit.before or {} for edit in self.lost]
            found = recognise.counterparts(seen, rows, self._columns(), key_columns, self.window)
        if found is None:
            for edit in self.lost:
                self._ambiguous(edit, (), None, None, NOT_FOUND)
        else:
            self.writes.deletes.extend(found)

    def _is_seen(self, key: Key, seen: Row, now: Row) -> bool:
        """Whether the row after the replay is the one that the run saw; what the target had before cannot
        have come from the replay."""
        fresh = self.before.present is not None and key not in self.before.present
        window = self.window if fresh else None
        return recognise.recognised(seen, {n: now[n] for n in seen}, self.writes.table.columns, window)

    def _set(self, key: Key, mine: Row, now: Row) -> None:
        changes = {name: value for name, value in mine.items() if now[name] != value}
        if changes:
            self.writes.updates.append((key, changes))
        else:
            self.writes.already += 1

    def _compared(self, left: Row, now: Row) -> tuple[str, ...]:
        return differing(left, {name: now[name] for name in left})

    def _columns(self) -> dict[str, Column]:
        return {name: self.writes.table.columns[name] for name in self.change.columns}

    def _ambiguous(self, edit: RowEdit, columns: tuple[str, ...], mine: Row | None, now: Row | None, note: str) -> None:
        self.conflicts.extend(_conflicts(self.change, edit, "ambiguous", columns, edit.before, mine, now, note=note))


def _plan_copies(conn: Connection, change: TableChange, writes: TableWrites, *, replayed: bool) -> list[Conflict]:
    names = list(change.columns)
    writes.inserts = [edit.after for edit in change.edits if edit.op == "insert" and edit.after is not None]
    gone = [edit for edit in change.edits if edit.op == "delete"]
    writes.deletes = [tuple((edit.before or {}).get(name) for name in names) for edit in gone]
    if not gone:
        return []
    stage = staging.put(conn, "forkyard_copies", [writes.table.columns[n] for n in names], writes.deletes)
    return [
        Conflict(
            kind="ambiguous" if replayed else "row-deleted",
            table=display(writes.table.name),
            key_columns=tuple(names),
            key=tuple("NULL" if value is None else value for value in writes.deletes[place]),
            note=f"the table has no key, and {copies} equal row(s) that the run deleted are not there",
        )
        for place, copies in staging.missing_copies(conn, writes.table, names, stage)
    ]


def _conflicts(
    change: TableChange,
    edit: RowEdit,
    kind: ConflictKind,
    columns: tuple[str, ...],
    base: Row | None,
    mine: Row | None,
    theirs: Row | None,
    *,
    note: str = "",
) -> Iterator[Conflict]:
    def value(row: Row | None, column: str | None) -> str | None:
        return None if row is None or column is None else row.get(column)

    places = {name: place for place, name in enumerate(change.columns)}
    for column in sorted(columns, key=lambda name: places.get(name, len(places))) or (None,):
        yield Conflict(
            kind=kind,
            table=display((change.schema, change.table)),
            key_columns=change.key_columns,
            key=edit.key,
            column=column,
            base=value(base, column),
            mine=value(mine, column),
            theirs=value(theirs, column),
            note=note,
        )
