from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.capture.rows import diff_tables

Fork = Callable[..., Any]


def test_the_baselines_rows_come_with_the_edits(fork: Fork) -> None:
    """S stands between the baseline and the fork: what a migration made is no longer the baseline's."""
    baseline = (
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (5, 'e')"
    )
    forked = fork(baseline)
    migration = (
        "UPDATE t SET v = v || '!'; DELETE FROM t WHERE id = 5; INSERT INTO t VALUES (6, 'f'); ALTER TABLE t ADD w int"
    )
    scratch = fork(baseline, migration)
    forked.after.execute(migration.encode())
    forked.after.execute(
        b"UPDATE t SET v = 'mine' WHERE id = 2; DELETE FROM t WHERE id IN (3, 6);"
        b"INSERT INTO t VALUES (5, 'again'), (7, 'g')"
    )
    (change,) = diff_tables(scratch.before, forked.after, base=forked.before)
    assert change.columns == {"id": "integer", "v": "text", "w": "integer"}
    assert change.base_columns == {"id": "integer", "v": "text"}
    assert [(edit.op, edit.key, edit.base) for edit in change.edits] == [
        ("update", ("2",), {"id": "2", "v": "b"}),
        ("delete", ("3",), {"id": "3", "v": "c"}),
        ("insert", ("5",), {"id": "5", "v": "e"}),
        ("delete", ("6",), None),
        ("insert", ("7",), None),
    ]
    assert change.edits[0].before == {"id": "2", "v": "b!", "w": None}


def test_a_table_that_a_migration_made_has_no_baseline(fork: Fork) -> None:
    forked = fork("CREATE TABLE other (id int)")
    migration = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')"
    scratch = fork("CREATE TABLE other (id int)", migration)
    forked.after.execute(migration.encode())
    forked.after.execute("UPDATE t SET v = 'b'")
    (change,) = diff_tables(scratch.before, forked.after, base=forked.before)
    assert change.base_columns is None
    assert [edit.base for edit in change.edits] == [None]


def test_a_key_that_a_migration_made_tells_nothing_of_the_baseline(fork: Fork) -> None:
    baseline = "CREATE TABLE t (id int, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')"
    forked, migration = fork(baseline), "ALTER TABLE t ADD PRIMARY KEY (id)"
    scratch = fork(baseline, migration)
    forked.after.execute(migration.encode())
    forked.after.execute("UPDATE t SET v = 'c' WHERE id = 1")
    (change,) = diff_tables(scratch.before, forked.after, base=forked.before)
    assert [(edit.key, edit.base) for edit in change.edits] == [(("1",), None)]


def test_the_baseline_of_a_multiset_counts_copies(fork: Fork) -> None:
    baseline = "CREATE TABLE t (v text); INSERT INTO t VALUES ('a'), ('b')"
    forked, migration = fork(baseline), "INSERT INTO t VALUES ('a')"
    scratch = fork(baseline, migration)
    forked.after.execute("DELETE FROM t")
    (change,) = diff_tables(scratch.before, forked.after, base=forked.before)
    assert [(edit.before, edit.base) for edit in change.edits] == [
        ({"v": "a"}, {"v": "a"}),
        ({"v": "a"}, None),
        ({"v": "b"}, {"v": "b"}),
    ]
