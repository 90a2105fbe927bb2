"""A merge's conflicts, and the report that a person reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.errors import MergeRefused

ConflictKind = Literal["row-changed", "row-deleted", "row-inserted", "row-referenced", "unique", "ambiguous"]

LINES_SHOWN = 20
VALUE_SHOWN = 60

_WORDS: dict[ConflictKind, str] = {
    "row-changed": "changed in the target",
    "row-deleted": "deleted in the target",
    "row-inserted": "inserted in the target too",
    "row-referenced": "still referenced in the target",
    "unique": "not unique in the target",
    "ambiguous": "cannot be told apart",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """One place where the run and the target disagree.

    Values are the canonical text of the capture, None where the value is NULL or the row absent. `column` is None
    where the row as a whole is in conflict; `note` then says why.
    """

    kind: ConflictKind
    table: str
    key_columns: tuple[str, ...]
    key: tuple[str, ...]
    column: str | None = None
    base: str | None = None
    mine: str | None = None
    theirs: str | None = None
    note: str = ""

    def line(self) -> str:
        """The conflict in one line: table, key, kind, and the column with its three values."""
        where = ", ".join(f"{c}={_shown(v)}" for c, v in zip(self.key_columns, self.key, strict=False))
        head = f"{self.table} ({where})" if where else self.table
        text = f"{head}: {_WORDS[self.kind]}"
        if self.column is not None:
            text += (
                f", column {self.column}: baseline {_shown(self.base)}, run {_shown(self.mine)}, "
                f"target {_shown(self.theirs)}"
            )
        return f"{text} ({self.note})" if self.note else text


def render(conflicts: Sequence[Conflict]) -> str:
    """At most 20 lines, one a conflict, then `and N more`."""
    lines = [conflict.line() for conflict in conflicts[:LINES_SHOWN]]
    more = len(conflicts) - LINES_SHOWN
    return "\n".join([*lines, f"and {more} more"] if more > 0 else lines)


def refusal(run_id: str, conflicts: Sequence[Conflict]) -> MergeRefused:
    """The error for these conflicts (at least one): context `conflicts` holds all, `report` the rendered ones."""
    tables = sorted({conflict.table for conflict in conflicts})
    rows = len({(conflict.table, conflict.key) for conflict in conflicts})
    what, are = ("1 row", "is") if rows == 1 else (f"{rows} rows", "are")
    return MergeRefused(
        f"run {run_id} was not merged: {what} of {_listed(tables)} {are} in conflict with the target "
        f"(first: {conflicts[0].line()}); nothing was changed, discard the run or take a new baseline and run again",
        conflicts=tuple(conflicts),
        report=render(conflicts),
    )


def _listed(names: Sequence[str], limit: int = 3) -> str:
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more tables" if len(names) > limit else shown


def _shown(value: str | None) -> str:
    if value is None:
        return "NULL"
    text = value if len(value) <= VALUE_SHOWN else f"{value[: VALUE_SHOWN - 1]}…"
    return repr(text)
