"""Rows that migrations made: what counts as the same row."""

from __future__ import annotations

import pytest

from orchestrator.merge.catalog import Column
from orchestrator.merge.recognise import Window, counterparts, made_by_replay, recognised

MICROSECONDS = 1_700_000_000_000_000  # 2023-11-14 22:13:20 UTC
HOURS_9 = 9 * 3600 * 1_000_000
WINDOW = Window.of(MICROSECONDS, MICROSECONDS + 5_000_000, MICROSECONDS + HOURS_9, MICROSECONDS + HOURS_9 + 5_000_000)


def column(name, type_name="text", *, computed=False):
    return Column(
        name=name,
        type=type_name,
        plain_type=type_name,
        equality_schema="pg_catalog",
        generated=False,
        identity_always=False,
        computed_default=computed,
    )


COLUMNS = {
    "id": column("id", "uuid", computed=True),
    "v": column("v"),
    "token": column("token", computed=True),
    "at": column("at", "timestamp with time zone", computed=True),
}


@pytest.mark.parametrize(
    ("type_name", "value", "expected"),
    [
        ("timestamp with time zone", "2023-11-14 22:13:20+00", True),
        ("timestamp with time zone", "2023-11-14 22:13:25+00", True),
        ("timestamp with time zone", "2023-11-14 22:13:19.999999+00", False),
        ("timestamp with time zone", "2023-11-14 22:13:25.000001+00", False),
        ("timestamp(0) with time zone", "2023-11-14 22:13:20+00", True),
        ("timestamp(3) without time zone", "2023-11-15 07:13:19.9995", True),
        ("timestamp without time zone", "2023-11-15 07:13:21", True),
        ("timestamp without time zone", "2023-11-14 22:13:21", True),
        ("timestamp without time zone", "2023-11-15 02:13:21", False),
        ("timestamp with time zone", "infinity", False),
        ("timestamp with time zone", "0044-03-15 00:00:00+00 BC", False),
    ],
)
def test_a_time_counts_as_the_replays_only_within_it(type_name, value, expected):
    assert made_by_replay(column("at", type_name, computed=True), value, WINDOW) is expected


def test_a_null_time_is_not_the_replays():
    assert not made_by_replay(COLUMNS["at"], None, WINDOW)


def test_a_computed_default_may_differ_and_a_plain_column_may_not():
    seen = {"id": "1", "v": "x", "token": "s", "at": "2020-01-01 00:00:00+00"}
    found = {**seen, "token": "t", "at": "2023-11-14 22:13:21+00"}
    assert recognised(seen, found, COLUMNS, WINDOW)
    assert not recognised(seen, {**found, "v": "y"}, COLUMNS, WINDOW)
    assert not recognised(seen, {**found, "at": "2021-01-01 00:00:00+00"}, COLUMNS, WINDOW)


def test_without_a_window_only_an_equal_row_is_recognised():
    seen = {"id": "1", "token": "s"}
    assert recognised(seen, {**seen}, COLUMNS, None)
    assert not recognised(seen, {**seen, "token": "t"}, COLUMNS, None)


def row(key, value, at="2023-11-14 22:13:21+00"):
    return {"id": key, "v": value, "token": f"t{key}", "at": at}


def test_rows_under_other_keys_are_found_by_their_content():
    lost = [row("u1", "a", at="2020-01-01 00:00:00+00"), row("u2", "b", at="2020-01-01 00:00:00+00")]
    created = [row("w1", "b"), row("w2", "other"), row("w3", "a")]
    assert counterparts(lost, created, COLUMNS, ("id",), WINDOW) == [("w1",), ("w3",)]


def test_as_many_alike_as_were_lost_are_all_meant():
    lost = [row("u1", "a"), row("u2", "a")]
    assert counterparts(lost, [row("w1", "a"), row("w2", "a")], COLUMNS, ("id",), WINDOW) == [("w1",), ("w2",)]


@pytest.mark.parametrize("created", [[], [row("w1", "b")], [row("w1", "a"), row("w2", "a")]])
def test_too_few_or_too_many_are_no_answer(created):
    assert counterparts([row("u1", "a")], created, COLUMNS, ("id",), WINDOW) is None


def test_a_time_that_only_some_rows_owe_to_the_replay_is_compared():
    lost = [row("u1", "a", at="2020-01-01 00:00:00+00")]
    created = [row("w1", "a", at="2020-01-01 00:00:00+00"), row("w2", "a")]
    assert counterparts(lost, created, COLUMNS, ("id",), WINDOW) == [("w1",)]
