"""The tables of states: what may follow what, and that the database knows the same words."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from enum import StrEnum
from importlib.resources import files

import pytest

from orchestrator.errors import IllegalTransition
from orchestrator.runs import (
    ENVIRONMENT_TRANSITIONS,
    RESTING,
    STEP_STATE,
    TERMINAL,
    TRANSITIONS,
    Ending,
    EnvironmentState,
    Promote,
    RunState,
    Step,
    Verdict,
    require,
)

LIVE = [state for state in RunState if state not in TERMINAL | RESTING]
SCHEMA = "\n".join(
    (entry.read_text(encoding="utf-8"))
    for entry in sorted((files("orchestrator.store") / "upgrades").iterdir(), key=lambda entry: entry.name)
    if entry.name.endswith(".sql")
)


def reachable(start: RunState) -> set[RunState]:
    seen, ahead = {start}, [start]
    while ahead:
        for state in TRANSITIONS[ahead.pop()] - seen:
            seen.add(state)
            ahead.append(state)
    return seen


def test_every_state_has_its_row() -> None:
    assert set(TRANSITIONS) == set(RunState)
    assert set(ENVIRONMENT_TRANSITIONS) == set(EnvironmentState)


def test_every_state_is_reached_and_every_way_ends() -> None:
    assert reachable(RunState.QUEUED) == set(RunState)
    for state in RunState:
        assert reachable(state) & TERMINAL


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_nothing_follows_an_end(state: RunState) -> None:
    assert TRANSITIONS[state] == frozenset()


@pytest.mark.parametrize("state", LIVE)
def test_every_live_run_can_fail_and_be_cancelled(state: RunState) -> None:
    assert {RunState.FAILED, RunState.CANCELLED} <= TRANSITIONS[state]


@pytest.mark.parametrize("state", sorted(RESTING))
def test_a_resting_run_is_promoted_discarded_or_cancelled_and_never_fails(state: RunState) -> None:
    assert {RunState.SETTLING, RunState.DISCARDED, RunState.CANCELLED} <= TRANSITIONS[state]
    assert RunState.FAILED not in TRANSITIONS[state]


def test_the_steps_follow_each_other_without_a_gap() -> None:
    assert [step.number for step in Step] == [1, 2, 3, 4, 5, 6]
    states = [STEP_STATE[step] for step in Step]
    assert len(set(states)) == 6
    for before, after in itertools.pairwise(states):
        assert after in TRANSITIONS[before]


ENDINGS = {
    RunState.MERGED: (Ending.merged("r"), Verdict.PROMOTE),
    RunState.DISCARDED: (Ending.discarded("r"), Verdict.DISCARD),
    RunState.FAILED: (Ending.failed("r"), Verdict.DISCARD),
    RunState.CANCELLED: (Ending.cancelled("r"), Verdict.DISCARD),
    RunState.CANDIDATE: (Ending.candidate("r"), Verdict.HOLD),
    RunState.HELD: (Ending.held("r"), Verdict.HOLD),
}


def test_every_end_and_every_rest_has_its_constructor() -> None:
    assert set(ENDINGS) == TERMINAL | RESTING


@pytest.mark.parametrize("state", sorted(ENDINGS))
def test_an_ending_knows_its_verdict_and_where_it_may_come_from(state: RunState) -> None:
    ending, verdict = ENDINGS[state]
    assert (ending.to, ending.verdict, ending.reason) == (state, verdict, "r")
    assert set(ending.sources) == {before for before in RunState if state in TRANSITIONS[before]}
    assert ending.sources


def test_only_what_settles_or_is_held_can_become_merged() -> None:
    assert set(Ending.merged("r").sources) == {RunState.SETTLING, RunState.HELD}


@pytest.mark.parametrize("before", list(RunState))
@pytest.mark.parametrize("after", list(RunState))
def test_require_lets_pass_what_the_table_says(before: RunState, after: RunState) -> None:
    if after in TRANSITIONS[before]:
        require(before, after)
    else:
        with pytest.raises(IllegalTransition, match=f"from {before} to {after}"):
            require(before, after)


def test_a_released_environment_stays_released() -> None:
    assert ENVIRONMENT_TRANSITIONS[EnvironmentState.RELEASED] == frozenset()
    for state in set(EnvironmentState) - {EnvironmentState.RELEASING, EnvironmentState.RELEASED}:
        assert EnvironmentState.RELEASING in ENVIRONMENT_TRANSITIONS[state]
        assert EnvironmentState.RELEASED not in ENVIRONMENT_TRANSITIONS[state]


@pytest.mark.parametrize(
    ("name", "words"), [("run_state", RunState), ("environment_state", EnvironmentState), ("verdict", Verdict)]
)
def test_the_database_knows_the_same_words(name: str, words: Iterable[StrEnum]) -> None:
    match = re.search(rf"CREATE TYPE {name} AS ENUM \(([^)]*)\)", SCHEMA)
    assert match is not None
    assert re.findall(r"'(\w+)'", match[1]) == [word.value for word in words]


@pytest.mark.parametrize(
    ("column", "words"),
    [("promote", {choice.value for choice in Promote}), ("ending", {"failed", "cancelled", "discarded"})],
)
def test_the_database_s_checks_know_the_same_words(column: str, words: set[str]) -> None:
    match = re.search(rf"\b{column} \w+[^,]*CHECK \({column} IN \(([^)]*)\)\)", SCHEMA)
    assert match is not None
    assert set(re.findall(r"'(\w+)'", match[1])) == words


def test_the_database_counts_as_many_steps() -> None:
    assert f"steps_done BETWEEN 0 AND {len(Step)}" in SCHEMA
