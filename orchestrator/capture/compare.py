"""Two streams of rows in buckets, compared value by value. No I/O.

A stream's rows are (bucket, *fields), ordered by bucket.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, TypeVar

from orchestrator.errors import CaptureError

Fields = tuple[str | None, ...]
Folded = TypeVar("Folded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One differing row as the streams have it; `key` is empty in a multiset."""

    op: Literal["insert", "update", "delete"]
    bucket: int
    key: tuple[str, ...]
    before: Fields | None
    after: Fields | None

    @property
    def size(self) -> int:
        """The characters of its values, as a measure of memory."""
        return sum(len(value or "") for value in (*(self.before or ()), *(self.after or ())))


def differing_buckets(before: Iterable[Fields], after: Iterable[Fields]) -> list[int]:
    """The buckets whose digests are not the same on both sides."""
    return [bucket for bucket, left, right in _paired(before, after, tuple) if left != right]


def keyed_drafts(before: Iterable[Fields], after: Iterable[Fields], key: Sequence[int]) -> Iterator[Draft]:
    """The differing rows under a key, given by the positions of its fields. Raises CaptureError for a key that two
    rows of one side have."""

    def by_key(rows: Iterable[Fields]) -> dict[tuple[str, ...], Fields]:
        found: dict[tuple[str, ...], Fields] = {}
        for row in rows:
            place = key_of(row, key)
            if place in found:
                raise CaptureError(f"Two rows have the key {place!r}: the table's unique index is damaged.")
            found[place] = row
        return found

    for bucket, left, right in _paired(before, after, by_key):
        for place in left.keys() | right.keys():
            old, new = left.get(place), right.get(place)
            if old == new:
                continue
            op: Literal["insert", "update", "delete"] = (
                "insert" if old is None else "delete" if new is None else "update"
            )
            yield Draft(op=op, bucket=bucket, key=place, before=old, after=new)


def multiset_drafts(before: Iterable[Fields], after: Iterable[Fields]) -> Iterator[Draft]:
    """One deletion or insertion for each copy of a row that one side has more than the other."""
    for bucket, left, right in _paired(before, after, Counter):
        for row, copies in (left - right).items():
            for _ in range(copies):
                yield Draft(op="delete", bucket=bucket, key=(), before=row, after=None)
        for row, copies in (right - left).items():
            for _ in range(copies):
                yield Draft(op="insert", bucket=bucket, key=(), before=None, after=row)


def key_of(row: Fields, key: Sequence[int]) -> tuple[str, ...]:
    """The key's texts. Raises CaptureError for a NULL, which a key cannot hold."""
    place = tuple(value for value in (row[position] for position in key) if value is not None)
    if len(place) != len(key):
        raise CaptureError("A key column holds NULL: the table's NOT NULL constraint is damaged.")
    return place


def _paired(
    before: Iterable[Fields], after: Iterable[Fields], fold: Callable[[Iterable[Fields]], Folded]
) -> Iterator[tuple[int, Folded, Folded]]:
    """Bucket by bucket, what `fold` makes of each side's rows; one bucket is in memory at a time."""
    left, right = _folded(before, fold), _folded(after, fold)
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        bucket = min(side[0] for side in (one, other) if side is not None)
        here = one if one is not None and one[0] == bucket else None
        there = other if other is not None and other[0] == bucket else None
        yield bucket, here[1] if here else fold(()), there[1] if there else fold(())
        one = next(left, None) if here else one
        other = next(right, None) if there else other


def _folded(rows: Iterable[Fields], fold: Callable[[Iterable[Fields]], Folded]) -> Iterator[tuple[int, Folded]]:
    for bucket, group in groupby(rows, key=lambda row: row[0]):
        yield int(bucket or 0), fold(row[1:] for row in group)
