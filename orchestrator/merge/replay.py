"""The replay merge: a run's changeset into the target, in one transaction, once or not at all.

1. Take the target's merge lock; look for the run's marker.
2. Lock the edited tables against other writers; compare the target's schema with the baseline's.
3. Compare the rows that the run edited with the baseline's: what the target touched too is a conflict.
4. Replay the migrations.
5. Set the edited rows to the run's values; move sequences on.
6. Write the marker; commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import psycopg
from psycopg import sql

from orchestrator.capture.changeset import Changeset, LedgerEntry
from orchestrator.capture.edits import TableChange
from orchestrator.capture.fingerprint import read_schema
from orchestrator.errors import MergeRefused, PrivilegeMissing
from orchestrator.merge import marker, quiet, references, sequences, session
from orchestrator.merge.catalog import (
    Table,
    TableName,
    query,
    read_feeding_sequences,
    read_foreign_keys,
    read_tables,
)
from orchestrator.merge.commit import commit
from orchestrator.merge.conflicts import Conflict, refusal
from orchestrator.merge.marker import Marker
from orchestrator.merge.plan import Before, TableWrites, look, plan, touched_rows
from orchestrator.merge.recognise import Window
from orchestrator.merge.session import Connect, Connection
from orchestrator.merge.write import Conflicting, write

ApplyLedger = Callable[[Connection, Sequence[LedgerEntry]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeReport:
    """What a merge did. `already` says that an earlier call merged the run; the counts are then zero.

    `unchanged` counts edited rows that the target held already, `sequences` those that moved.
    """

    run_id: str
    already: bool
    changeset_hash: str
    merged_at: datetime
    migrations: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    sequences: int = 0
    duration_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Merge:
    """One merge under way: what was asked for."""

    conninfo: str
    changeset: Changeset
    changeset_hash: str
    run_id: str
    installation: UUID
    target_fingerprint: str
    lock_timeout_seconds: float
    statement_timeout_seconds: float
    apply_ledger: ApplyLedger
    role_names: Mapping[str, str] | None

    def limit(self, conn: Connection) -> None:
        session.limit(
            conn,
            lock_timeout_seconds=self.lock_timeout_seconds,
            statement_timeout_seconds=self.statement_timeout_seconds,
        )

    @property
    def changes(self) -> dict[TableName, TableChange]:
        return {(change.schema, change.table): change for change in self.changeset.tables}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The target before the replay: the edited rows, all tables by OID, the sequences that the run moved."""

    rows: Mapping[TableName, Before]
    oids: frozenset[int]
    positions: sequences.States

    def before(self, name: TableName, table: Table | None) -> Before:
        """The table's rows; nothing is known of those of a table that a migration renamed."""
        rows = self.rows[name]
        renamed = not rows.existed and table is not None and table.oid in self.oids
        return replace(rows, existed=True, present=None) if renamed else rows


def merge(
    conninfo: str,
    changeset: Changeset,
    *,
    run_id: str,
    installation: UUID | str,
    target_fingerprint: str,
    lock_timeout_seconds: float,
    statement_timeout_seconds: float,
    apply_ledger: ApplyLedger,
    role_names: Mapping[str, str] | None = None,
    connect: Connect = session.connect,
) -> MergeReport:
    """Merge the run into the target at `conninfo` (its owner's login), or change nothing at all.

    May be called again at any time, also by two workers at once: a run is merged once, later calls report `already`.
    `apply_ledger` executes migrations in the given session, inside its transaction. `target_fingerprint` is that
    of the target's schema when the baseline was taken, read with the same `role_names`.

    Raises MergeRefused for drift (context `drift`), conflicts (`conflicts`, `report`), unrecorded changes of the
    schema (`unrecorded`), a closed run, a lock that was not free in time (`retry`), or whatever the target objects
    to; TargetUnreachable; PrivilegeMissing.
    """
    asked = _Merge(
        conninfo=conninfo,
        changeset=changeset,
        changeset_hash=changeset.content_hash,
        run_id=run_id,
        installation=UUID(str(installation)),
        target_fingerprint=target_fingerprint,
        lock_timeout_seconds=lock_timeout_seconds,
        statement_timeout_seconds=statement_timeout_seconds,
        apply_ledger=apply_ledger,
        role_names=role_names,
    )
    started = time.monotonic()
    _refuse_unrecorded(asked)
    try:
        conn = connect(conninfo)
    except psycopg.OperationalError as exc:
        raise session.unreachable(exc, conninfo) from exc
    try:
        with session.translated(conninfo, run_id=run_id):
            report = _in_transaction(conn, asked)
        if not report.already:
            commit(conn, conninfo, run_id=run_id, installation=asked.installation, connect=connect)
        return replace(report, duration_seconds=time.monotonic() - started)
    finally:
        conn.close()


def _in_transaction(conn: Connection, asked: _Merge) -> MergeReport:
    asked.limit(conn)
    marker.lock(conn)
    standing = _standing(conn, asked)
    if standing is not None:
        return MergeReport(
            run_id=asked.run_id,
            already=True,
            changeset_hash=asked.changeset_hash,
            merged_at=standing.at,
        )
    with session.pinned(conn):
        markers = marker.digest(conn)
        seen = _before_replay(conn, asked)
    window = _replay_ledger(conn, asked)
    with session.pinned(conn):
        planned = _after_replay(conn, asked, seen, window)
        moved = sequences.advance(conn, asked.changeset.sequences)
        if marker.digest(conn) != markers:
            raise MergeRefused(f"run {asked.run_id} was not merged: its migrations change Forkyard's own marker table")
        written = marker.write(conn, asked.run_id, installation=asked.installation, changeset_hash=asked.changeset_hash)
    return _report(asked, written, planned, moved)


def _refuse_unrecorded(asked: _Merge) -> None:
    unrecorded = asked.changeset.unrecorded
    if unrecorded:
        names = [f"{change.kind} {change.name} ({change.change})" for change in unrecorded]
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise MergeRefused(
            f"run {asked.run_id} was not merged: it changed the schema outside of its migrations: {listed}; "
            "write these changes as migrations and run again",
            unrecorded=tuple(unrecorded),
        )


def _standing(conn: Connection, asked: _Merge) -> Marker | None:
    """The marker of an earlier merge. Raises MergeRefused for a closed run or another changeset's marker."""
    if not marker.installed(conn):
        raise PrivilegeMissing(
            f"{session.place(asked.conninfo)} has no table forkyard.merges, without which no merge is provably done "
            "once: add the project again with `forkyard project add`"
        )
    standing = marker.read(conn, asked.run_id, installation=asked.installation)
    if standing is not None and standing.outcome == "closed":
        raise MergeRefused(f"run {asked.run_id} was not merged: it was closed at {standing.at:%Y-%m-%d %H:%M:%S}")
    if standing is not None and standing.changeset_hash != asked.changeset_hash:
        raise MergeRefused(f"run {asked.run_id} was merged before with another changeset: nothing was changed now")
    return standing


def _before_replay(conn: Connection, asked: _Merge) -> _Seen:
    """Lock, compare schema and rows with the baseline. Raises MergeRefused for drift and for touched rows."""
    tables = read_tables(conn, asked.changes)
    _lock(conn, asked, sorted(tables))
    fingerprint = read_schema(conn, role_names=asked.role_names).fingerprint
    if fingerprint != asked.target_fingerprint:
        raise _drift(asked)
    before: dict[TableName, Before] = {}
    conflicts: list[Conflict] = []
    with quiet.unseen_by_policies(conn, list(tables.values())):
        for place, (name, change) in enumerate(asked.changes.items()):
            before[name] = look(conn, change, tables.get(name), place)
            conflicts.extend(touched_rows(change, before[name]))
    if conflicts:
        raise refusal(asked.run_id, conflicts)
    return _Seen(
        rows=before,
        oids=frozenset(row[0] for row in conn.execute(query("table_oids")).fetchall()),
        positions=sequences.states(conn, ((change.schema, change.name) for change in asked.changeset.sequences)),
    )


def _lock(conn: Connection, asked: _Merge, names: Sequence[TableName]) -> None:
    if not names:
        return
    tables = sql.SQL(", ").join(sql.Identifier(*name) for name in names)
    try:
        conn.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(tables))
    except psycopg.errors.UndefinedTable as exc:
        raise _drift(asked) from exc


def _drift(asked: _Merge) -> MergeRefused:
    return MergeRefused(
        f"run {asked.run_id} was not merged: the schema of {session.place(asked.conninfo)} changed since the baseline "
        "was taken; take a new one with `forkyard baseline create` and run again",
        drift=True,
    )


def _replay_ledger(conn: Connection, asked: _Merge) -> Window:
    """Apply the migrations one by one, as they ran in the fork; gives the time that it took."""
    acting = session.identity(conn)
    for entry in asked.changeset.ledger:
        with session.translated(asked.conninfo, run_id=asked.run_id, during=f"migration {entry.name}"):
            asked.apply_ledger(conn, [entry])
            asked.limit(conn)
            session.restore_identity(conn, acting)
    row = conn.execute(query("window")).fetchone()
    assert row is not None
    return Window.of(*row)


def _after_replay(conn: Connection, asked: _Merge, seen: _Seen, window: Window) -> list[TableWrites]:
    """Decide and write. Raises MergeRefused for conflicts."""
    tables = read_tables(conn, asked.changes)
    _lock(conn, asked, sorted(tables))
    planned: dict[TableName, TableWrites] = {}
    conflicts: list[Conflict] = []
    with quiet.unseen_by_policies(conn, list(tables.values())):
        for name, change in asked.changes.items():
            table = tables.get(name)
            replayed = bool(asked.changeset.ledger)
            planned[name], found = plan(conn, change, table, seen.before(name, table), window, replayed=replayed)
            conflicts.extend(found)
    conflicts.extend(_displaced(conn, asked, tables, planned, seen.positions))
    if conflicts:
        raise refusal(asked.run_id, conflicts)
    try:
        write(conn, list(planned.values()))
    except Conflicting as exc:
        raise refusal(asked.run_id, exc.conflicts) from exc
    return list(planned.values())


def _displaced(
    conn: Connection,
    asked: _Merge,
    tables: Mapping[TableName, Table],
    planned: Mapping[TableName, TableWrites],
    positions: sequences.States,
) -> list[Conflict]:
    if not asked.changeset.ledger or not asked.changeset.sequences:
        return []
    foreign_keys = read_foreign_keys(conn, tables.values())
    parents = read_tables(conn, {key.parent for key in foreign_keys})
    feeding = read_feeding_sequences(conn, parents.values())
    return list(references.displaced(planned, foreign_keys, feeding, asked.changeset.sequences, positions))


def _report(asked: _Merge, written: Marker, planned: Sequence[TableWrites], moved: int) -> MergeReport:
    return MergeReport(
        run_id=asked.run_id,
        already=False,
        changeset_hash=asked.changeset_hash,
        merged_at=written.at,
        migrations=len(asked.changeset.ledger),
        inserted=sum(len(writes.inserts) for writes in planned),
        updated=sum(len(writes.updates) for writes in planned),
        deleted=sum(len(writes.deletes) for writes in planned),
        unchanged=sum(writes.already for writes in planned),
        sequences=moved,
    )
