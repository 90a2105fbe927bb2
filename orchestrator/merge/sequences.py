"""Sequences: where they stand on the target, and how a merge moves them on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from psycopg import sql

from orchestrator.capture.edits import SequenceChange, SequenceState
from orchestrator.errors import MergeRefused
from orchestrator.merge.catalog import TableName, display, identifier
from orchestrator.merge.session import Connection

States = Mapping[TableName, SequenceState]


def states(conn: Connection, names: Iterable[TableName]) -> dict[TableName, SequenceState]:
    """The positions of those of the sequences that exist."""
    wanted = sorted(set(names))
    found = conn.execute(
        "SELECT n.nspname::text, c.relname::text"
        " FROM unnest(%s::text[], %s::text[]) AS wanted (schema_name, sequence_name)"
        " JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.schema_name"
        " JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.sequence_name"
        " WHERE c.relkind = 'S'",
        [[name[0] for name in wanted], [name[1] for name in wanted]],
    ).fetchall()
    return {(schema, name): _state(conn, (schema, name)) for schema, name in found}


def advance(conn: Connection, changes: Sequence[SequenceChange]) -> int:
    """Move the sequences on to where the run left them; one that is further already stays. Gives how many moved.

    The position of a sequence is not undone by a rollback, so this comes last. A merge that fails afterwards
    leaves a gap in the numbers and nothing else.
    """
    now = states(conn, ((change.schema, change.name) for change in changes))
    moved = 0
    for change in changes:
        name = (change.schema, change.name)
        if name not in now:
            raise MergeRefused(
                f"sequence {display(name)} is not on the target after the run's migrations, and the run used it: "
                "they depend on more than the baseline, so that this run cannot be replayed"
            )
        if is_further(change.after, now[name], increment=change.increment):
            conn.execute(
                "SELECT pg_catalog.setval(%s::regclass, %s, %s)",
                [identifier(name).as_string(conn), change.after.last_value, change.after.is_called],
            )
            moved += 1
    return moved


def is_further(one: SequenceState, other: SequenceState, *, increment: int) -> bool:
    """Whether `one` would next give a value further on than `other`."""
    if one.last_value == other.last_value:
        return one.is_called and not other.is_called
    return (one.last_value > other.last_value) == (increment > 0)


def _state(conn: Connection, name: TableName) -> SequenceState:
    query = sql.SQL("SELECT last_value, is_called FROM {}").format(identifier(name))
    row = conn.execute(query).fetchone()
    assert row is not None
    return SequenceState(last_value=row[0], is_called=row[1])
