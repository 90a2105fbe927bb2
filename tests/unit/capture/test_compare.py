from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.capture.compare import Draft, Fields, differing_buckets, keyed_drafts, multiset_drafts
from orchestrator.errors import CaptureError


def test_only_buckets_that_differ_are_named() -> None:
    before = [("1", "5", "a"), ("2", "1", "b"), ("7", "1", "c"), ("10", "1", "d")]
    after = [("1", "5", "a"), ("2", "2", "b"), ("8", "1", "e"), ("10", "1", "d")]
    assert differing_buckets(before, after) == [2, 7, 8]


def test_equal_streams_differ_nowhere() -> None:
    assert differing_buckets([("1", "a")], [("1", "a")]) == []
    assert differing_buckets([], []) == []


def test_buckets_are_ordered_as_numbers() -> None:
    rows: list[Fields] = [("9", "a"), ("10", "b")]
    assert differing_buckets(rows, rows[:1]) == [10]


def test_keyed_rows_are_inserted_updated_and_deleted() -> None:
    before = [("1", "k1", "a"), ("1", "k2", "b"), ("3", "k3", None)]
    after = [("1", "k2", "B"), ("1", "k1", "a"), ("4", "k4", "d")]
    drafts = sorted(keyed_drafts(before, after, [0]), key=lambda draft: draft.key)
    assert [(draft.op, draft.bucket, draft.key, draft.before, draft.after) for draft in drafts] == [
        ("update", 1, ("k2",), ("k2", "b"), ("k2", "B")),
        ("delete", 3, ("k3",), ("k3", None), None),
        ("insert", 4, ("k4",), None, ("k4", "d")),
    ]


def test_a_key_that_two_rows_have_is_refused() -> None:
    with pytest.raises(CaptureError, match="unique index is damaged"):
        list(keyed_drafts([("1", "k", "a"), ("1", "k", "b")], [], [0]))


def test_a_key_of_null_is_refused() -> None:
    with pytest.raises(CaptureError, match="NOT NULL constraint is damaged"):
        list(keyed_drafts([("1", None, "a")], [], [0]))


def test_copies_in_a_multiset_are_counted() -> None:
    before = [("1", "a"), ("1", "a"), ("1", "b")]
    after = [("1", "b"), ("1", "a"), ("1", "b"), ("1", "b")]
    drafts = sorted(multiset_drafts(before, after), key=lambda draft: draft.op)
    assert [(draft.op, draft.before, draft.after) for draft in drafts] == [
        ("delete", ("a",), None),
        ("insert", None, ("b",)),
        ("insert", None, ("b",)),
    ]


def test_no_more_than_a_bucket_is_read_ahead() -> None:
    read: list[int] = []

    def stream() -> Iterator[Fields]:
        for bucket in range(1000):
            read.append(bucket)
            yield (str(bucket), f"k{bucket}", "new")

    first = next(iter(keyed_drafts([], stream(), [0])))
    assert first.bucket == 0
    assert len(read) <= 3


def test_the_size_of_a_draft_counts_both_rows() -> None:
    assert Draft(op="update", bucket=0, key=("1",), before=("1", "ab"), after=("1", None)).size == 4
