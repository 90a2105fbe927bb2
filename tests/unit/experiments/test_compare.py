from __future__ import annotations

import random
from typing import Any

import pytest

from orchestrator.experiments.compare import RunResult, best, compare, number
from orchestrator.runs import RunState

F1, F2 = "sha256:" + "1" * 64, "sha256:" + "2" * 64
BY = ["-duplicates", "-orphans"]


def run(name: str, duplicates: float | None = None, orphans: float | None = None, **facts: Any) -> RunResult:
    variant, _, repeat = name.partition("#")
    facts = {"state": RunState.CANDIDATE, "fingerprint": F1, "baseline_version": 1} | facts
    metrics = {"duplicates": duplicates, "orphans": orphans}
    return RunResult(run_id=f"e/{name}", variant=variant, repeat=int(repeat), metrics=metrics, **facts)


def test_the_first_metric_decides() -> None:
    chosen = best([run("a#1", 3, 0), run("b#1", 0, 9), run("a#2", 1, 0)], BY)
    assert chosen.run_id == "e/b#1"
    assert chosen.reason == "lowest duplicates: 0"


def test_the_next_metric_breaks_a_tie_and_the_reason_says_so() -> None:
    chosen = best([run("a#1", 0, 5), run("b#1", 0, 3), run("c#1", 1, 0)], BY)
    assert (chosen.run_id, chosen.reason) == ("e/b#1", "lowest duplicates: 0; tie broken by orphans: 3")


def test_metrics_in_which_all_are_level_are_named_together() -> None:
    runs = [run("a#1", 0, 0, duration_seconds=2.5), run("b#1", 0, 0, duration_seconds=1.25)]
    chosen = best(runs, [*BY, "-duration_seconds"])
    assert chosen.reason == "lowest duplicates: 0; level in orphans; tie broken by duration_seconds: 1.25"


def test_higher_is_better_without_a_minus() -> None:
    chosen = best([run("a#1", 3), run("b#1", 7)], ["duplicates"])
    assert (chosen.run_id, chosen.reason) == ("e/b#1", "highest duplicates: 7")


@pytest.mark.parametrize(
    ("names", "winner", "rule"),
    [
        (["a#2", "b#1", "c#1"], "e/b#1", "variant that comes first in the file"),
        (["a#2", "b#1"], "e/b#1", "lower repeat"),
        (["a#1", "b#1"], "e/a#1", "variant that comes first in the file"),
    ],
)
def test_a_full_tie_goes_to_the_lower_repeat_then_to_the_first_variant(
    names: list[str], winner: str, rule: str
) -> None:
    chosen = best([run(name, 0, 0) for name in names], BY)
    assert chosen.run_id == winner
    assert f"so the {rule} wins" in chosen.reason


def test_only_candidates_with_every_check_true_count() -> None:
    runs = [
        run("a#1", 0, 0, state=RunState.FAILED),
        run("b#1", 0, 0, state=RunState.DISCARDED),
        run("c#1", 0, 0, checks={"no order lost": False}),
        run("d#1", 9, 9, checks={"no order lost": True}),
    ]
    chosen = best(runs, BY)
    assert (chosen.run_id, chosen.reason) == ("e/d#1", "the only candidate; duplicates: 9; orphans: 9")
    nobody = best(runs[:3], BY)
    assert nobody.run_id is None
    assert nobody.reason == (
        "no run can be merged: 1 failed, 1 discarded, 1 candidate (checks that failed: no order lost)"
    )
    assert best([], BY).run_id is None


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf")])
@pytest.mark.parametrize("by", ["-duplicates", "duplicates"])
def test_a_run_without_the_metric_loses_to_any_with_it(missing: float | None, by: str) -> None:
    assert best([run("a#1", missing), run("b#1", 1e9)], [by]).run_id == "e/b#1"
    assert best([run("a#1", missing), run("b#1", -1e9)], [by]).run_id == "e/b#1"


def test_a_metric_that_nobody_has_decides_nothing() -> None:
    chosen = best([run("a#1", None, 4), run("b#1", None, 2)], BY)
    assert (chosen.run_id, chosen.reason) == ("e/b#1", "level in duplicates; tie broken by orphans: 2")


def test_runs_from_different_baselines_are_not_compared() -> None:
    runs = [run("a#1", 0, 0), run("b#1", 1, 1, fingerprint=F2, baseline_version=2)]
    comparison = compare(runs, BY)
    assert not comparison.comparable
    assert "baseline 1 (sha256:111111111111…): e/a#1" in comparison.note
    assert "baseline 2 (sha256:222222222222…): e/b#1" in comparison.note
    assert comparison.fingerprint is None
    assert [row.metrics["duplicates"] for row in comparison.rows] == [None, None]
    chosen = best(runs, BY)
    assert chosen.run_id is None
    assert chosen.reason.startswith("not comparable")


def test_a_run_that_never_got_a_fork_does_not_make_the_others_incomparable() -> None:
    runs = [run("a#1", 0, 0), run("b#1", state=RunState.FAILED, fingerprint=None, baseline_version=None)]
    comparison = compare(runs, BY)
    assert comparison.comparable
    assert (comparison.baseline_version, comparison.fingerprint) == (1, F1)
    assert comparison.rows[1].fix_attempts is None


def test_a_row_has_medians_ends_and_counts() -> None:
    runs = [
        run("a#1", 1, 0, duration_seconds=4.0, fix_attempts=2),
        run("a#2", 5, 0, duration_seconds=2.0, state=RunState.MERGED),
        run("a#3", 2, None, state=RunState.DISCARDED, checks={"x": False}),
    ]
    (row,) = compare(runs, BY).rows
    spread = row.metrics["duplicates"]
    assert spread is not None
    assert (spread.median, spread.low, spread.high, spread.count) == (2, 1, 5, 3)
    assert row.metrics["orphans"] is not None
    assert row.metrics["orphans"].count == 2
    assert row.duration_seconds is not None
    assert row.duration_seconds.median == 3.0
    assert (row.runs, row.failed_checks) == (3, 1)
    assert row.count(RunState.MERGED) == row.count(RunState.DISCARDED) == 1
    assert row.count(RunState.MERGED, RunState.CANDIDATE) == 2


def test_rows_are_best_first_and_variants_without_a_value_last() -> None:
    runs = [run("a#1", state=RunState.FAILED), run("b#1", 4, 0), run("c#1", 0, 0), run("c#2", 2, 0)]
    assert [row.variant for row in compare(runs, BY).rows] == ["c", "b", "a"]
    assert [row.variant for row in compare(runs).rows] == ["a", "b", "c"]


def test_metrics_that_decide_come_first_and_facts_can_decide() -> None:
    runs = [run("a#1", 0, 0, rows_deleted=5), run("b#1", 0, 0, rows_deleted=2)]
    comparison = compare(runs, ["-changeset.rows.deleted"])
    assert comparison.metrics == ("changeset.rows.deleted", "duplicates", "orphans")
    assert best(runs, ["-changeset.rows.deleted"]).run_id == "e/b#1"


def test_the_choice_does_not_depend_on_the_order_in_which_runs_ended() -> None:
    runs = [run(f"a#{repeat}", repeat % 3, repeat % 2) for repeat in range(1, 20)]
    dice = random.Random(5)
    for _ in range(20):
        dice.shuffle(runs)
        assert best(runs, BY).run_id == "e/a#6"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234567, "1,234,567"),
        (0.12345, "0.1235"),
        (1234.56, "1,234.6"),
        (None, "–"),
        (1e300, "1e+300"),
        (-2.5, "-2.5"),
    ],
)
def test_numbers_are_written_for_people(value: float | None, text: str) -> None:
    assert number(value) == text


def test_facts_about_changesets_are_columns_only_where_they_decide() -> None:
    result = RunResult(
        run_id="e/a#1",
        variant="a",
        repeat=1,
        state=RunState.CANDIDATE,
        fingerprint=F1,
        metrics={"changeset.tables": 2.0, "changeset.rows.inserted": 5.0, "agent.cost": 0.5},
    )
    assert compare([result]).metrics == ("agent.cost",)
    assert compare([result], ["-changeset.tables"]).metrics == ("changeset.tables", "agent.cost")
