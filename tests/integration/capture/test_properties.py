"""Random tables, random writes: what the difference says, written into a copy, makes it equal to the fork."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from orchestrator.capture.rows import diff_tables

TABLES = {
    "keyed": "a int, b text, v numeric, w text, PRIMARY KEY (a, b)",
    "unique_key": "a int, b text NOT NULL UNIQUE, v numeric, w text",
    "keyless": "a int, b text, v numeric, w text",
    "parts": "a int, b text, v numeric, w text, PRIMARY KEY (a, b)",
}

# Few keys, so that edits meet; values that are equal but not the same, or that look like separators.
numbers = st.sampled_from(["0", "1", "1.0", "1.00", "-0.5", "NaN", "1e5", "100000", None])
texts = st.sampled_from(["", "a", "a ", "A", "b", '"', "\\", "\t", "\\N", "NULL", ",", "(,)", "ä", "\U0001f331", None])
keys = st.tuples(st.integers(0, 6), st.sampled_from(["", "x", "y", "x,y", '"x"']))
rows = st.tuples(keys, numbers, texts)


class Workload:
    """Statements against one table, each of which may fail without harm to the others."""

    inserts = st.tuples(st.just("INSERT INTO {t} VALUES (%s, %s, %s, %s)"), rows)
    updates = st.tuples(
        st.just("UPDATE {t} SET v = %s, w = %s WHERE a = %s"), st.tuples(numbers, texts, st.integers(0, 6))
    )
    moves = st.tuples(st.just("UPDATE {t} SET a = %s WHERE a = %s"), st.tuples(st.integers(0, 6), st.integers(0, 6)))
    deletes = st.tuples(st.just("DELETE FROM {t} WHERE a = %s"), st.tuples(st.integers(0, 6)))
    copies = st.tuples(st.just("INSERT INTO {t} SELECT * FROM {t} WHERE a = %s"), st.tuples(st.integers(0, 6)))
    emptying = st.tuples(st.just("TRUNCATE {t}"), st.just(()))
    rewriting = st.tuples(st.just("CLUSTER {t} USING {t}_again"), st.just(()))
    steps = st.one_of(inserts, inserts, updates, moves, deletes, copies, emptying, rewriting)
    any = st.lists(st.tuples(st.sampled_from(sorted(TABLES)), steps), max_size=25)


def flat(values: Any) -> list[Any]:
    return [part for value in values for part in (value if isinstance(value, tuple) else (value,))]


def run(conn: psycopg.Connection[Any], workload: list[tuple[str, tuple[str, Any]]]) -> None:
    for table, (text, values) in workload:
        try:
            conn.execute(text.replace("{t}", table).encode(), flat(values))
        except (psycopg.errors.IntegrityError, psycopg.errors.FeatureNotSupported, psycopg.errors.WrongObjectType):
            continue


@pytest.fixture(scope="module")
def databases(fork_databases: Callable[..., Iterator[Any]]) -> Iterator[Any]:
    seed = []
    for name, columns in TABLES.items():
        partitioned = " PARTITION BY RANGE (a)" if name == "parts" else ""
        seed.append(f"CREATE TABLE {name} ({columns}){partitioned}; CREATE INDEX {name}_again ON {name} (v)")
    seed.append("CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (3)")
    seed.append("CREATE TABLE parts_high PARTITION OF parts DEFAULT")
    generator = fork_databases(*seed)
    yield next(generator)
    assert next(generator, None) is None


@settings(max_examples=60, deadline=None)
@given(common=Workload.any, mine=Workload.any)
def test_the_difference_applied_to_a_copy_makes_it_equal(
    common: list[Any], mine: list[Any], databases: Any, apply_edits: Callable[..., None]
) -> None:
    before, after = databases.before, databases.after
    for conn in (before, after):
        conn.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(map(sql.Identifier, TABLES))))
        run(conn, common)
    assert diff_tables(before, after) == ()
    run(after, mine)
    changes = diff_tables(before, after)
    backwards = diff_tables(after, before)
    assert sum(c.inserted for c in changes) == sum(c.deleted for c in backwards)
    assert {c.table: c.updated for c in changes} == {c.table: c.updated for c in backwards}
    assert all(table_is_different(before, after, change.table) for change in changes)
    apply_edits(before, changes)
    assert diff_tables(before, after) == ()
    for table in TABLES:
        assert not table_is_different(before, after, table)


def table_is_different(before: psycopg.Connection[Any], after: psycopg.Connection[Any], table: str) -> bool:
    """The plain truth, found another way: all rows as text, sorted."""
    query = sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(sql.Identifier(table))
    return before.execute(query).fetchall() != after.execute(query).fetchall()
