"""The decision for a row, as a table."""

from __future__ import annotations

import pytest

from orchestrator.merge.three_way import Verdict, decide, differing

BASE = {"id": "1", "a": "x", "b": None}

CASES = [
    # name, base, mine, theirs, verdict, kind, columns
    ("inserted, free", None, BASE, None, "apply", None, ()),
    ("inserted, equal", None, BASE, {**BASE}, "already", None, ()),
    ("inserted, other", None, BASE, {**BASE, "a": "y"}, "conflict", "row-inserted", ("a",)),
    ("inserted, column missing", None, BASE, {"id": "1", "a": "x"}, "conflict", "row-inserted", ("b",)),
    ("deleted, gone", BASE, None, None, "already", None, ()),
    ("deleted, untouched", BASE, None, {**BASE}, "apply", None, ()),
    ("deleted, changed", BASE, None, {**BASE, "b": ""}, "conflict", "row-changed", ("b",)),
    ("updated, untouched", BASE, {"a": "m"}, {**BASE}, "apply", None, ()),
    ("updated, gone", BASE, {"a": "m"}, None, "conflict", "row-deleted", ()),
    ("updated, same", BASE, {"a": "m"}, {**BASE, "a": "m"}, "already", None, ()),
    ("updated, half the same", BASE, {"a": "m", "b": "n"}, {**BASE, "a": "m"}, "apply", None, ()),
    ("updated, other value", BASE, {"a": "m"}, {**BASE, "a": "t"}, "conflict", "row-changed", ("a",)),
    ("updated, other column", BASE, {"a": "m"}, {**BASE, "b": "t"}, "conflict", "row-changed", ("b",)),
    ("updated, same and other", BASE, {"a": "m"}, {**BASE, "a": "m", "b": "t"}, "conflict", "row-changed", ("b",)),
    ("updated to NULL, to empty", BASE, {"a": None}, {**BASE, "a": ""}, "conflict", "row-changed", ("a",)),
    ("updated, a column that the target lacks", BASE, {"new": "m"}, {**BASE}, "apply", None, ()),
]


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "verdict", "kind", "columns"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_every_combination_has_its_decision(base, mine, theirs, verdict, kind, columns):
    decision = decide(base=base, mine=mine, theirs=theirs)
    assert (decision.verdict, decision.kind, decision.columns) == (Verdict(verdict), kind, columns)


def test_null_and_empty_text_differ():
    assert differing({"a": None}, {"a": ""}) == ("a",)


def test_a_column_that_one_row_lacks_differs_even_when_it_is_null():
    assert differing({"a": None}, {}) == differing({}, {"a": None}) == ("a",)
