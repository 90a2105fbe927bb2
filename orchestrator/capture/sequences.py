"""The positions of sequences, and which of them moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import psycopg
from psycopg import sql

from orchestrator.capture.edits import SequenceChange, SequenceState
from orchestrator.capture.session import Connection, inspecting, statement

_AT_ONCE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sequence:
    increment: int
    state: SequenceState


def diff_sequences(
    before: Connection, after: Connection, *, ignore_schemas: Sequence[str] = ("forkyard",)
) -> tuple[SequenceChange, ...]:
    """The sequences on both sides whose position differs, ordered by name.

    Raises CaptureError for one that cannot be read, ProviderUnavailable for a lost connection.
    """
    with inspecting(before) as cursor:
        old = _read(cursor, ignore_schemas)
    with inspecting(after) as cursor:
        new = _read(cursor, ignore_schemas)
    return tuple(
        SequenceChange(
            schema=schema,
            name=name,
            increment=sequence.increment,
            before=old[schema, name].state,
            after=sequence.state,
        )
        for (schema, name), sequence in new.items()
        if (schema, name) in old and old[schema, name].state != sequence.state
    )


def _read(cursor: psycopg.Cursor[tuple[Any, ...]], ignore_schemas: Sequence[str]) -> dict[tuple[str, str], _Sequence]:
    cursor.execute(statement("sequences"), {"ignored": list(ignore_schemas)})
    listed = cursor.fetchall()
    found: dict[tuple[str, str], _Sequence] = {}
    remaining = iter(listed)
    while batch := list(islice(remaining, _AT_ONCE)):
        one = sql.SQL("SELECT {}, s.last_value, s.is_called FROM {} AS s")
        branches = [
            one.format(sql.Literal(number), sql.Identifier(schema, name))
            for number, (schema, name, _) in enumerate(batch)
        ]
        cursor.execute(sql.SQL(" UNION ALL ").join(branches))
        for number, last_value, is_called in cursor.fetchall():
            schema, name, increment = batch[number]
            state = SequenceState(last_value=last_value, is_called=is_called)
            found[schema, name] = _Sequence(increment=increment, state=state)
    return {(schema, name): found[schema, name] for schema, name, _ in listed}
