"""The decision for one row, from three versions of it: no database, no side effect.

| base | mine     | theirs             | decision                                                |
| ---- | -------- | ------------------ | ------------------------------------------------------- |
| none | row      | none               | apply                                                   |
| none | row      | equal to mine      | already                                                 |
| none | row      | other              | conflict row-inserted, one a differing column           |
| row  | deleted  | none               | already                                                 |
| row  | deleted  | equal to base      | apply                                                   |
| row  | deleted  | other              | conflict row-changed, one a changed column              |
| row  | changes  | none               | conflict row-deleted                                    |
| row  | changes  | equal to base      | apply                                                   |
| row  | changes  | only mine's changes| apply, or already where all of them are there           |
| row  | changes  | other              | conflict row-changed, one a column that mine lacks      |

A target that changed any column of an edited row is in conflict, also where the run edited another column: what
the run decided may rest on what it read in that row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.merge.conflicts import ConflictKind

Row = Mapping[str, str | None]


class Verdict(StrEnum):
    APPLY = "apply"
    ALREADY = "already"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`kind` and `columns` are set for a conflict; no columns means the row as a whole."""

    verdict: Verdict
    kind: ConflictKind | None = None
    columns: tuple[str, ...] = ()


_APPLY = Decision(verdict=Verdict.APPLY)
_ALREADY = Decision(verdict=Verdict.ALREADY)


def decide(*, base: Row | None, mine: Row | None, theirs: Row | None) -> Decision:
    """What to do with one edited row of the target.

    `base` is the baseline's full row, `theirs` the target's, None where absent. `mine` is the full row where base
    is None, else the columns that the run changed; None where the run deleted the row.
    """
    if base is None:
        return _inserted(mine or {}, theirs)
    if mine is None:
        return _deleted(base, theirs)
    return _updated(base, mine, theirs)


def differing(left: Row, right: Row) -> tuple[str, ...]:
    """The columns in which two rows differ; a column that one of them lacks counts."""
    names = [*left, *(name for name in right if name not in left)]
    return tuple(n for n in names if (n in left) != (n in right) or left.get(n) != right.get(n))


def _inserted(mine: Row, theirs: Row | None) -> Decision:
    if theirs is None:
        return _APPLY
    columns = differing(mine, theirs)
    return Decision(verdict=Verdict.CONFLICT, kind="row-inserted", columns=columns) if columns else _ALREADY


def _deleted(base: Row, theirs: Row | None) -> Decision:
    if theirs is None:
        return _ALREADY
    columns = differing(base, theirs)
    return Decision(verdict=Verdict.CONFLICT, kind="row-changed", columns=columns) if columns else _APPLY


def _updated(base: Row, mine: Row, theirs: Row | None) -> Decision:
    if theirs is None:
        return Decision(verdict=Verdict.CONFLICT, kind="row-deleted")
    changed = differing(base, theirs)
    columns = tuple(c for c in changed if c not in mine or mine[c] != theirs.get(c))
    if columns:
        return Decision(verdict=Verdict.CONFLICT, kind="row-changed", columns=columns)
    return _ALREADY if all(c in theirs and theirs[c] == value for c, value in mine.items()) else _APPLY
