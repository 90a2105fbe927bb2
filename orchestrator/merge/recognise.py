"""Rows that the migrations made: whether those on the target are the ones that the run saw.

A migration need not be deterministic. A row that it makes on the target may have another time, another random
value or another generated key than it had on the scratch fork. Such a row has no baseline to compare with, so it
is compared with what the run saw after its migrations, and a difference must be *proven* to come from
the replay itself: a time within the replay, or a column whose default computes its value. Whatever
cannot be proven is a conflict of its own kind, never a guess.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orchestrator.merge.catalog import Column
from orchestrator.merge.three_way import Row, differing

Key = tuple[str, ...]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When the migrations were replayed: moments, and the same as the wall clock of their session."""

    start: datetime
    end: datetime
    local_start: datetime
    local_end: datetime

    @classmethod
    def of(cls, start: int, end: int, local_start: int, local_end: int) -> Window:
        """From microseconds since 1970."""
        return cls(
            start=_EPOCH + timedelta(microseconds=start),
            end=_EPOCH + timedelta(microseconds=end),
            local_start=_EPOCH.replace(tzinfo=None) + timedelta(microseconds=local_start),
            local_end=_EPOCH.replace(tzinfo=None) + timedelta(microseconds=local_end),
        )

    def holds(self, value: str, column: Column) -> bool:
        """Whether a timestamp's text lies within; one with fewer digits may be rounded to the second before."""
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return False
        slack = timedelta(seconds=1) if "(" in column.type else timedelta()
        if moment.tzinfo is not None:
            return self.start - slack <= moment <= self.end + slack
        utc_start, utc_end = self.start.replace(tzinfo=None), self.end.replace(tzinfo=None)
        return (
            self.local_start - slack <= moment <= self.local_end + slack
            or utc_start - slack <= moment <= utc_end + slack
        )


def made_by_replay(column: Column, value: str | None, window: Window) -> bool:
    """Whether the replay itself, not the data, may account for this value."""
    if column.is_timestamp:
        return value is not None and window.holds(value, column)
    return column.computed_default


def recognised(seen: Row, found: Row, columns: Mapping[str, Column], window: Window | None) -> bool:
    """Whether the row `found` after the replay is the one that the run saw after its migrations.

    Without a window only an equal row is.
    """
    return all(
        window is not None and name in columns and made_by_replay(columns[name], found.get(name), window)
        for name in differing(seen, found)
    )


def counterparts(
    lost: Sequence[Row],
    created: Sequence[Row],
    columns: Mapping[str, Column],
    key_columns: Sequence[str],
    window: Window,
) -> list[Key] | None:
    """Keys of the created rows that stand for the lost ones (which the run saw under other keys), or None.

    They are matched by their content without the key and without columns that the replay accounts for, and only
    where there are as many of one content created as lost: which stands for which then makes no difference.
    """
    compared = [
        name
        for name, column in columns.items()
        if name not in key_columns
        and not column.generated
        and not (created and all(made_by_replay(column, row.get(name), window) for row in created))
    ]
    wanted = Counter(_content(row, compared) for row in lost)
    there = Counter(_content(row, compared) for row in created)
    if any(there[content] != count for content, count in wanted.items()):
        return None
    return [_key(row, key_columns) for row in created if _content(row, compared) in wanted]


def _content(row: Row, names: Iterable[str]) -> tuple[str | None, ...]:
    return tuple(row.get(name) for name in names)


def _key(row: Row, key_columns: Sequence[str]) -> Key:
    return tuple(row[name] or "" for name in key_columns)
