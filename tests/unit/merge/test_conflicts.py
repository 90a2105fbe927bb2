"""The report of conflicts."""

from __future__ import annotations

import pytest

from orchestrator.merge.conflicts import Conflict, refusal, render


def conflict(row="1", **changes):
    values = {"kind": "row-changed", "table": "t", "key_columns": ("id",), "key": (row,), "column": "a", "theirs": "x"}
    return Conflict(**{**values, **changes})


def test_a_line_names_table_key_column_and_the_three_values():
    line = conflict(base="b", mine=None, theirs="t").line()
    assert line == "t (id='1'): changed in the target, column a: baseline 'b', run NULL, target 't'"


def test_a_whole_row_has_no_column_and_says_why():
    line = conflict(kind="ambiguous", column=None, note="made twice", key_columns=("a", "b"), key=("1", "2")).line()
    assert line == "t (a='1', b='2'): cannot be told apart (made twice)"


def test_long_values_are_cut():
    assert len(conflict(theirs="x" * 500).line()) < 200


@pytest.mark.parametrize(("count", "last"), [(20, "'20'"), (21, "and 1 more"), (1000, "and 980 more")])
def test_at_most_twenty_conflicts_are_shown(count, last):
    lines = render([conflict(str(n)) for n in range(1, count + 1)]).splitlines()
    assert len(lines) == min(count, 21)
    assert last in lines[-1]


def test_a_refusal_counts_rows_and_keeps_every_conflict():
    conflicts = [
        conflict("1"),
        conflict("1", column="b"),
        conflict("2", table="u"),
        conflict("2", table="v"),
        conflict(table="w"),
    ]
    error = refusal("clean#1", conflicts)
    assert str(error).startswith("run clean#1 was not merged: 4 rows of t, u, v and 1 more tables")
    assert error.context["conflicts"] == tuple(conflicts)
    assert error.context["report"] == render(conflicts)
    assert "\n" not in str(error)
