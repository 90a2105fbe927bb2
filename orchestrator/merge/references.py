"""References to rows that a migration made under a number from a sequence.

If the target drew numbers from that sequence since the baseline, the replayed migration draws others than it did for
the run. A foreign key that the run wrote may then hold the number of a row of the target's: not a
violation, but the wrong row. Such a reference is a conflict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.capture.edits import SequenceChange, SequenceState
from orchestrator.merge.catalog import ForeignKey, TableName, display
from orchestrator.merge.conflicts import Conflict
from orchestrator.merge.plan import TableWrites
from orchestrator.merge.sequences import States, is_further
from orchestrator.merge.three_way import Row

Feeding = Mapping[tuple[TableName, str], tuple[TableName, ...]]


def displaced(
    planned: Mapping[TableName, TableWrites],
    foreign_keys: Sequence[ForeignKey],
    feeding: Feeding,
    changes: Sequence[SequenceChange],
    before: States,
) -> Iterator[Conflict]:
    """The written references that may point to another row than the run's.

    `before` are the target's positions before the replay, `changes` start from the baseline's.
    """
    moved = {(change.schema, change.name): change for change in changes}
    for key in foreign_keys:
        if key.child not in planned:
            continue
        for column, parent_column in zip(key.child_columns, key.parent_columns, strict=True):
            for sequence in feeding.get((key.parent, parent_column), ()):
                change, there = moved.get(sequence), before.get(sequence)
                if change is not None and there is not None and there != change.before:
                    own = _inserted(planned.get(key.parent), parent_column)
                    yield from _beyond(planned[key.child], column, change, own, key)


def _beyond(
    writes: TableWrites, column: str, change: SequenceChange, own: frozenset[str], key: ForeignKey
) -> Iterator[Conflict]:
    for row_key, row in _written(writes):
        value = row.get(column)
        if value is None or value in own or not _drawn_since(value, change):
            continue
        yield Conflict(
            kind="ambiguous",
            table=display(key.child),
            key_columns=writes.key_columns,
            key=row_key,
            column=column,
            mine=value,
            note=f"the target drew numbers from sequence {change.name} since the baseline, so that this may be another "
            f"row of {display(key.parent)} than the run's",
        )


def _written(writes: TableWrites) -> Iterator[tuple[tuple[str, ...], Row]]:
    yield from writes.updates
    for row in writes.inserts:
        yield tuple(row.get(name) or "" for name in writes.key_columns), row


def _inserted(writes: TableWrites | None, column: str) -> frozenset[str]:
    return frozenset(value for row in writes.inserts if (value := row.get(column))) if writes else frozenset()


def _drawn_since(value: str, change: SequenceChange) -> bool:
    try:
        position = SequenceState(last_value=int(value), is_called=True)
    except ValueError:
        return False
    return is_further(position, change.before, increment=change.increment)
