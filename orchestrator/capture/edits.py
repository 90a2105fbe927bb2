"""What a run did to rows and sequences, as values.

Every value of a row is the canonical text of its type's output function under the session settings of
`session.py`, or None for NULL; to write it back, cast the text to the column's type under the same settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Row = Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEdit:
    """One row that differs.

    `key` holds the texts of the table's key columns, in their order; empty for a table without a key, whose rows
    are a multiset: there are no updates then, and a row with n copies more gives n edits.
    `before` is the full row, None for an insert. `after` is the full row of an insert, the changed columns
    of an update, None for a delete. `base` is the baseline's full row under that key, None if it had none
    (or none that can be told for certain).
    """

    op: Literal["insert", "update", "delete"]
    key: tuple[str, ...]
    before: Row | None
    after: Row | None
    base: Row | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableChange:
    """The edits of one table, ordered by key. A partitioned table is one table, by its root.

    `columns` maps the compared columns (those on both sides, generated ones left out) to their types
    as `format_type` prints them, in the table's order. `base_columns` does so for the baseline's table of that
    name; None where the baseline has no such table.
    """

    schema: str
    table: str
    key_columns: tuple[str, ...]
    columns: Mapping[str, str]
    base_columns: Mapping[str, str] | None
    edits: tuple[RowEdit, ...]

    @property
    def inserted(self) -> int:
        return self._count("insert")

    @property
    def updated(self) -> int:
        return self._count("update")

    @property
    def deleted(self) -> int:
        return self._count("delete")

    @property
    def columns_touched(self) -> tuple[str, ...]:
        """The columns that updates changed, in the table's order."""
        touched = {name for edit in self.edits if edit.op == "update" for name in edit.after or {}}
        return tuple(name for name in self.columns if name in touched)

    def _count(self, op: str) -> int:
        return sum(edit.op == op for edit in self.edits)


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceState:
    """A sequence's position: the next value is `last_value`, or one increment on where `is_called`."""

    last_value: int
    is_called: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceChange:
    """A sequence on both sides whose position differs. `increment` is the `after` side's, never 0."""

    schema: str
    name: str
    increment: int
    before: SequenceState
    after: SequenceState
