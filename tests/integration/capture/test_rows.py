from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from orchestrator.capture.edits import RowEdit, SequenceState, TableChange
from orchestrator.capture.rows import diff_sequences, diff_tables
from orchestrator.errors import CaptureError, ProviderUnavailable

Fork = Callable[..., Any]
Apply = Callable[..., None]


def summary(change: TableChange) -> list[tuple[str, tuple[str, ...], object, object]]:
    return [(edit.op, edit.key, edit.before, edit.after) for edit in change.edits]


def difference(forked: Any, *workload: str) -> dict[str, TableChange]:
    for text in workload:
        forked.after.execute(text.encode())
    return {f"{change.schema}.{change.table}": change for change in diff_tables(forked.before, forked.after)}


def test_a_clone_has_no_difference(fork: Fork) -> None:
    forked = fork(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'v' FROM generate_series(1, 500) g"
    )
    assert difference(forked, "UPDATE t SET v = v", "VACUUM FULL t") == {}


def test_inserts_updates_and_deletes_are_told_apart(fork: Fork) -> None:
    forked = fork(
        "CREATE TABLE t (id int PRIMARY KEY, v text, w int);"
        "INSERT INTO t SELECT g, 'v', g FROM generate_series(1, 20) g"
    )
    changes = difference(
        forked, "UPDATE t SET v = NULL WHERE id = 9", "DELETE FROM t WHERE id = 10", "INSERT INTO t VALUES (100, 'x')"
    )
    assert list(changes) == ["public.t"]
    change = changes["public.t"]
    assert change.columns == change.base_columns == {"id": "integer", "v": "text", "w": "integer"}
    assert change.key_columns == ("id",)
    assert summary(change) == [
        ("update", ("9",), {"id": "9", "v": "v", "w": "9"}, {"v": None}),
        ("delete", ("10",), {"id": "10", "v": "v", "w": "10"}, None),
        ("insert", ("100",), None, {"id": "100", "v": "x", "w": None}),
    ]
    assert (change.inserted, change.updated, change.deleted) == (1, 1, 1)
    assert change.columns_touched == ("v",)


def test_a_composite_key_keeps_its_order(fork: Fork) -> None:
    forked = fork(
        "CREATE TABLE t (v int, b text, a int, PRIMARY KEY (a, b));"
        "INSERT INTO t VALUES (1, 'x', 1), (1, 'y', 1), (1, '1,x', 1), (1, 'x', 11)"
    )
    change = difference(forked, "UPDATE t SET v = 2 WHERE a = 1 AND b = '1,x'")["public.t"]
    assert change.key_columns == ("a", "b")
    assert summary(change) == [("update", ("1", "1,x"), {"v": "1", "b": "1,x", "a": "1"}, {"v": "2"})]


def test_values_do_not_run_into_each_other(fork: Fork) -> None:
    forked = fork(
        "CREATE TABLE t (id int PRIMARY KEY, a text, b text); INSERT INTO t VALUES (1, 'ab', 'c'), (2, 'a,b', '')"
    )
    change = difference(
        forked, "UPDATE t SET a = 'a', b = 'bc' WHERE id = 1", "UPDATE t SET a = 'a', b = 'b,' WHERE id = 2"
    )
    assert change["public.t"].updated == 2


def test_swapped_keys_are_two_updates(fork: Fork) -> None:
    forked = fork(
        "CREATE TABLE t (id int, v text, PRIMARY KEY (id) DEFERRABLE); INSERT INTO t VALUES (1, 'one'), (2, 'two')"
    )
    change = difference(forked, "UPDATE t SET id = 3 - id")["public.t"]
    assert summary(change) == [
        ("update", ("1",), {"id": "1", "v": "one"}, {"v": "two"}),
        ("update", ("2",), {"id": "2", "v": "two"}, {"v": "one"}),
    ]


def test_a_changed_key_is_a_delete_and_an_insert(fork: Fork) -> None:
    forked = fork("CREATE TABLE t (id numeric PRIMARY KEY, v text); INSERT INTO t VALUES (1.0, 'a'), (2, 'b')")
    change = difference(forked, "UPDATE t SET id = 1.00 WHERE id = 1")["public.t"]
    assert summary(change) == [
        ("delete", ("1.0",), {"id": "1.0", "v": "a"}, None),
        ("insert", ("1.00",), None, {"id": "1.00", "v": "a"}),
    ]


def test_a_unique_key_without_nulls_stands_in_for_a_primary_key(fork: Fork) -> None:
    forked = fork(
        "CREATE TABLE t (v int, partial text NOT NULL, maybe text UNIQUE, expression text NOT NULL,"
        " code text NOT NULL);"
        "CREATE UNIQUE INDEX a ON t (partial) WHERE v > 0; CREATE UNIQUE INDEX b ON t (lower(expression));"
        "CREATE UNIQUE INDEX c ON t (code) INCLUDE (maybe);"
        "INSERT INTO t SELECT g, g, NULL, g, 'c' || g FROM generate_series(1, 5) g"
    )
    change = difference(forked, "UPDATE t SET v = 50 WHERE code = 'c5'")["public.t"]
    assert change.key_columns == ("code",)
    assert summary(change)[0][1] == ("c5",)


@pytest.mark.parametrize(
    "key",
    [
        "code text, UNIQUE (code)",
        "code text NOT NULL, gone text GENERATED ALWAYS AS (upper(code)) STORED UNIQUE",
        "code text UNIQUE, CONSTRAINT n CHECK (code IS NOT NULL)",
    ],
)
def test_what_may_hold_nulls_or_is_generated_is_no_key(fork: Fork, key: str) -> None:
    forked = fork(f"CREATE TABLE t (v int, {key}); INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    change = difference(forked, "UPDATE t SET v = 3 WHERE v = 2")["public.t"]
    assert change.key_columns == ()
    assert [edit.op for edit in change.edits] == ["delete", "insert"]


def test_a_not_null_that_was_never_validated_makes_no_key(fork: Fork) -> None:
    forked = fork(
        "CREATE TABLE t (v int, code text UNIQUE); INSERT INTO t VALUES (1, NULL), (2, NULL), (3, 'c');"
        "ALTER TABLE t ADD CONSTRAINT n NOT NULL code NOT VALID"
    )
    change = difference(forked, "DELETE FROM t WHERE v = 1")["public.t"]
    assert (change.key_columns, change.deleted) == ((), 1)


def test_a_key_that_one_side_lost_is_no_key(fork: Fork) -> None:
    forked = fork("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    change = difference(forked, "ALTER TABLE t DROP CONSTRAINT t_pkey", "INSERT INTO t VALUES (1, 'a')")["public.t"]
    assert change.key_columns == ()
    assert summary(change) == [("insert", (), None, {"id": "1", "v": "a"})]


def test_a_table_without_key_is_a_multiset(fork: Fork, apply_edits: Apply) -> None:
    forked = fork(
        "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (1, 'x'), (1, 'x'), (2, NULL), (2, NULL)"
    )
    changes = difference(
        forked,
        "DELETE FROM t WHERE ctid IN (SELECT ctid FROM t WHERE a = 1 LIMIT 2)",
        "INSERT INTO t VALUES (2, NULL), (2, NULL), (2, '')",
    )
    change = changes["public.t"]
    assert change.key_columns == ()
    assert summary(change) == [
        ("delete", (), {"a": "1", "b": "x"}, None),
        ("delete", (), {"a": "1", "b": "x"}, None),
        ("insert", (), None, {"a": "2", "b": None}),
        ("insert", (), None, {"a": "2", "b": None}),
        ("insert", (), None, {"a": "2", "b": ""}),
    ]
    apply_edits(forked.before, tuple(changes.values()))
    assert diff_tables(forked.before, forked.after) == ()


@pytest.mark.parametrize("copies", [(1, 3), (2, 4), (3, 1)])
def test_copies_of_a_row_do_not_cancel_out(fork: Fork, copies: tuple[int, int]) -> None:
    old, new = copies
    forked = fork(f"CREATE TABLE t (a int); INSERT INTO t SELECT 7 FROM generate_series(1, {old})")
    change = difference(forked, "TRUNCATE t", f"INSERT INTO t SELECT 7 FROM generate_series(1, {new})")["public.t"]
    assert (change.inserted, change.deleted) == (max(new - old, 0), max(old - new, 0))


def test_a_partitioned_table_is_one_table_and_a_move_is_one_update(fork: Fork, apply_edits: Apply) -> None:
    forked = fork(
        "CREATE TABLE p (id int, region text, v int) PARTITION BY LIST (region);"
        "CREATE TABLE p_eu PARTITION OF p FOR VALUES IN ('eu') PARTITION BY RANGE (id);"
        "CREATE TABLE p_eu_low PARTITION OF p_eu FOR VALUES FROM (0) TO (100);"
        "CREATE TABLE p_eu_high PARTITION OF p_eu FOR VALUES FROM (100) TO (200);"
        "CREATE TABLE p_rest PARTITION OF p DEFAULT;"
        "INSERT INTO p SELECT g, CASE WHEN g % 2 = 0 THEN 'eu' ELSE 'us' END, g FROM generate_series(1, 50) g"
    )
    changes = difference(
        forked,
        "UPDATE p SET region = 'us' WHERE id = 2",
        "UPDATE p SET id = 102 WHERE id = 4",
        "DELETE FROM p_rest WHERE id = 5",
    )
    assert list(changes) == ["public.p"]
    assert (changes["public.p"].inserted, changes["public.p"].deleted) == (2, 3)
    apply_edits(forked.before, tuple(changes.values()))
    assert diff_tables(forked.before, forked.after) == ()


def test_a_move_between_partitions_keeps_its_key(fork: Fork) -> None:
    forked = fork(
        "CREATE TABLE p (id int, v int NOT NULL, PRIMARY KEY (id, v)) PARTITION BY RANGE (id);"
        "CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
        "INSERT INTO p VALUES (1, 1), (2, 2)"
    )
    # The same rows in other partitions are the same rows.
    workload = (
        "ALTER TABLE p DETACH PARTITION p_1",
        "CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (0) TO (2)",
        "CREATE TABLE p_3 PARTITION OF p FOR VALUES FROM (2) TO (5)",
        "INSERT INTO p SELECT * FROM p_1",
    )
    assert difference(forked, *workload) == {}


def test_inheriting_tables_are_tables_of_their_own(fork: Fork) -> None:
    forked = fork(
        "CREATE TABLE parent (id int PRIMARY KEY, v int);"
        "CREATE TABLE child (extra int, PRIMARY KEY (id)) INHERITS (parent);"
        "INSERT INTO parent VALUES (1, 1); INSERT INTO child VALUES (1, 1, 1)"
    )
    changes = difference(forked, "UPDATE ONLY child SET v = 2")
    assert list(changes) == ["public.child"]


def test_generated_columns_are_left_out_and_identity_columns_are_not(fork: Fork, apply_edits: Apply) -> None:
    forked = fork(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int,"
        " stored int GENERATED ALWAYS AS (v * 2) STORED, virtual int GENERATED ALWAYS AS (v * 3) VIRTUAL);"
        "INSERT INTO t (v) SELECT generate_series(1, 3)"
    )
    changes = difference(forked, "UPDATE t SET v = 9 WHERE id = 1", "INSERT INTO t (v) VALUES (4)")
    assert summary(changes["public.t"]) == [
        ("update", ("1",), {"id": "1", "v": "1"}, {"v": "9"}),
        ("insert", ("4",), None, {"id": "4", "v": "4"}),
    ]
    apply_edits(forked.before, tuple(changes.values()))
    assert diff_tables(forked.before, forked.after) == ()


def test_unlogged_tables_are_compared_and_temporary_ones_are_not(fork: Fork) -> None:
    forked = fork("CREATE UNLOGGED TABLE u (id int PRIMARY KEY)")
    changes = difference(
        forked, "CREATE TEMPORARY TABLE passing (id int)", "INSERT INTO passing VALUES (1)", "INSERT INTO u VALUES (1)"
    )
    assert list(changes) == ["public.u"]


def test_names_may_be_anything(fork: Fork, apply_edits: Apply) -> None:
    forked = fork(
        'CREATE SCHEMA "Größe %s";'
        'CREATE TABLE "Größe %s"."ta""b;le%(x)s {0}" ("I d" int, "sp alte ""ä""" text, "b" int,'
        ' "h" int, "ключ %s" int, PRIMARY KEY ("ключ %s", "I d"));'
        'INSERT INTO "Größe %s"."ta""b;le%(x)s {0}" VALUES (1, \'%s\', 1, 1, 1)'
    )
    changes = difference(forked, 'UPDATE "Größe %s"."ta""b;le%(x)s {0}" SET "sp alte ""ä""" = \'{}%\'')
    (change,) = changes.values()
    assert (change.schema, change.table) == ("Größe %s", 'ta"b;le%(x)s {0}')
    assert change.key_columns == ("ключ %s", "I d")
    assert change.columns_touched == ('sp alte "ä"',)
    apply_edits(forked.before, tuple(changes.values()))
    assert diff_tables(forked.before, forked.after) == ()


def test_names_that_differ_in_case_alone_are_different_tables(fork: Fork) -> None:
    forked = fork('CREATE TABLE items (id int PRIMARY KEY); CREATE TABLE "Items" (id int PRIMARY KEY)')
    assert list(difference(forked, 'INSERT INTO "Items" VALUES (1)')) == ["public.Items"]


def test_an_empty_table_may_be_filled_and_a_full_one_emptied(fork: Fork) -> None:
    forked = fork(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY);"
        "INSERT INTO b SELECT generate_series(1, 300)"
    )
    changes = difference(forked, "INSERT INTO a SELECT generate_series(1, 300)", "TRUNCATE b")
    assert {name: (c.inserted, c.deleted) for name, c in changes.items()} == {
        "public.a": (300, 0),
        "public.b": (0, 300),
    }


def test_a_table_without_columns_has_rows_all_the_same(fork: Fork, apply_edits: Apply) -> None:
    forked = fork("CREATE TABLE t (); INSERT INTO t DEFAULT VALUES")
    changes = difference(forked, "INSERT INTO t DEFAULT VALUES")
    assert summary(changes["public.t"]) == [("insert", (), None, {})]


def test_columns_that_were_dropped_before_do_not_matter(fork: Fork, apply_edits: Apply) -> None:
    forked = fork(
        "CREATE TABLE t (gone int, id int PRIMARY KEY, also text, v text);"
        "INSERT INTO t VALUES (1, 1, 'x', 'a'), (1, 2, 'x', 'b');"
        "ALTER TABLE t DROP gone, DROP also"
    )
    changes = difference(forked, "UPDATE t SET v = 'c' WHERE id = 2")
    assert summary(changes["public.t"]) == [("update", ("2",), {"id": "2", "v": "b"}, {"v": "c"})]


def test_columns_of_one_side_alone_are_left_to_the_schema_difference(fork: Fork) -> None:
    forked = fork(
        "CREATE TABLE t (id int PRIMARY KEY, gone int, v text); INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b')"
    )
    changes = difference(
        forked,
        "ALTER TABLE t DROP gone, ADD fresh int DEFAULT 5",
        "CREATE TABLE new (id int)",
        "UPDATE t SET v = 'c' WHERE id = 2",
    )
    assert list(changes) == ["public.t"]
    assert changes["public.t"].columns == {"id": "integer", "v": "text"}
    assert summary(changes["public.t"]) == [("update", ("2",), {"id": "2", "v": "b"}, {"v": "c"})]


def test_large_tables_of_many_buckets_are_exact(fork: Fork, apply_edits: Apply) -> None:
    forked = fork(
        "CREATE TABLE t (id int PRIMARY KEY, v text);"
        "INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 20000) g;"
        "CREATE TABLE k AS TABLE t"
    )
    workload = (
        "UPDATE t SET v = 'x' WHERE id % 997 = 0",
        "DELETE FROM t WHERE id % 1009 = 0",
        "INSERT INTO t SELECT g, 'y' FROM generate_series(30000, 30030) g",
        "UPDATE k SET v = 'x' WHERE id % 997 = 0",
    )
    changes = difference(forked, *workload)
    keyed, keyless = changes["public.t"], changes["public.k"]
    assert (keyed.inserted, keyed.updated, keyed.deleted) == (31, 20, 19)
    assert (keyless.inserted, keyless.updated, keyless.deleted) == (20, 0, 20)
    assert [edit.key for edit in keyed.edits] == sorted((e.key for e in keyed.edits), key=lambda key: int(key[0]))
    apply_edits(forked.before, tuple(changes.values()))
    assert diff_tables(forked.before, forked.after) == ()


def test_more_edits_than_allowed_are_refused_and_never_cut_off(fork: Fork) -> None:
    forked = fork("CREATE TABLE t (id int PRIMARY KEY, v text)")
    forked.after.execute("INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 100) g")
    assert diff_tables(forked.before, forked.after, max_rows=100)[0].inserted == 100
    with pytest.raises(CaptureError, match=r"at most 99 rows .* in table public\.t"):
        diff_tables(forked.before, forked.after, max_rows=99)
    with pytest.raises(CaptureError, match=r"5,000 characters"):
        diff_tables(forked.before, forked.after, max_bytes=5000)
    # The connections stay usable.
    assert diff_tables(forked.before, forked.after)[0].inserted == 100


def test_schemas_can_be_ignored(fork: Fork) -> None:
    forked = fork("CREATE SCHEMA forkyard; CREATE TABLE forkyard.merges (id int); CREATE SEQUENCE forkyard.s")
    forked.after.execute("INSERT INTO forkyard.merges VALUES (nextval('forkyard.s'))")
    assert diff_tables(forked.before, forked.after) == ()
    assert diff_sequences(forked.before, forked.after) == ()
    assert len(diff_tables(forked.before, forked.after, ignore_schemas=())) == 1


def test_sequences_that_moved_are_found(fork: Fork) -> None:
    forked = fork(
        "CREATE SEQUENCE still; CREATE SEQUENCE called; CREATE SEQUENCE down INCREMENT -5;"
        'CREATE TABLE "T" ("I" int GENERATED ALWAYS AS IDENTITY, v int); SELECT nextval(\'still\')'
    )
    forked.after.execute(
        "SELECT nextval('called'), nextval('down'), nextval('down'); INSERT INTO \"T\" (v) VALUES (1), (2)"
    )
    forked.after.execute("CREATE SEQUENCE fresh")
    found = {change.name: change for change in diff_sequences(forked.before, forked.after)}
    assert sorted(found) == ["T_I_seq", "called", "down"]
    assert (found["called"].before, found["called"].after) == (
        SequenceState(last_value=1, is_called=False),
        SequenceState(last_value=1, is_called=True),
    )
    assert (found["down"].increment, found["down"].after.last_value) == (-5, -6)
    assert found["T_I_seq"].after == SequenceState(last_value=2, is_called=True)


def test_a_changed_large_object_is_refused(fork: Fork) -> None:
    forked = fork("SELECT lo_from_bytea(4711, 'abc')")
    assert diff_tables(forked.before, forked.after) == ()
    forked.after.execute("SELECT lo_put(4711, 1, 'x')")
    with pytest.raises(CaptureError, match=r"large object 4711"):
        diff_tables(forked.before, forked.after)


def test_a_connection_inside_a_transaction_is_refused(fork: Fork) -> None:
    forked = fork("CREATE TABLE t (id int)")
    with forked.after.transaction(), pytest.raises(CaptureError, match="must not be inside a transaction"):
        diff_tables(forked.before, forked.after)


def test_a_lost_connection_is_worth_another_try(fork: Fork) -> None:
    forked = fork("CREATE TABLE t (id int)")
    with forked.connect(0, agent=False) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", (forked.after.info.backend_pid,))
    with pytest.raises(ProviderUnavailable) as caught:
        diff_tables(forked.before, forked.after)
    assert caught.value.retryable


def test_an_unreadable_table_is_named(clone: Fork) -> None:
    forked = clone("CREATE TABLE t (id int)")
    with forked.connect(1, agent=False) as admin:
        admin.execute("CREATE TABLE foreign_to_it (id int); INSERT INTO foreign_to_it VALUES (1)")
        with forked.connect(0, agent=False) as other:
            other.execute("CREATE TABLE foreign_to_it (id int)")
    with pytest.raises(CaptureError, match="permission denied for table foreign_to_it") as caught:
        diff_tables(forked.before, forked.after)
    assert forked.names[0] in str(caught.value)


def test_writes_during_the_comparison_are_not_seen_in_part(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both passes over a table see one snapshot, so a concurrent write cannot fall between them."""
    from orchestrator.capture import rows

    forked = fork("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT g, 0 FROM generate_series(1, 10) g")
    forked.after.execute("UPDATE t SET v = 1 WHERE id = 1")
    found = rows.differing_buckets

    def write_meanwhile(*streams: Any) -> list[int]:
        buckets = found(*streams)
        with forked.connect(1) as other:
            other.execute("UPDATE t SET v = 2")
        return buckets

    monkeypatch.setattr(rows, "differing_buckets", write_meanwhile)
    (change,) = diff_tables(forked.before, forked.after)
    assert summary(change) == [("update", ("1",), {"id": "1", "v": "0"}, {"v": "1"})]


def test_memory_does_not_grow_with_the_tables(fork: Fork) -> None:
    forked = fork(
        "CREATE TABLE t (id int PRIMARY KEY, v text);"
        "INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 20000) g"
    )
    forked.after.execute("UPDATE t SET v = 'y' WHERE id % 1000 = 0")
    tracemalloc.start()
    try:
        (change,) = diff_tables(forked.before, forked.after)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(change.edits) == 20
    # Either side holds 20 MB of rows.
    assert peak < 2_000_000


def test_reading_needs_no_idle_settings_and_leaves_the_session_alone(fork: Fork) -> None:
    forked = fork("CREATE TABLE t (id int)")
    forked.after.execute(
        "SET default_transaction_read_only = on; SET statement_timeout = '1h'; SET search_path = public"
    )
    assert diff_tables(forked.before, forked.after) == ()
    shown = forked.after.execute("SELECT current_setting('statement_timeout'), current_setting('search_path')")
    assert shown.fetchone() == ("1h", "public")
    assert forked.after.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_edits_are_values(fork: Fork) -> None:
    forked = fork("CREATE TABLE t (id int PRIMARY KEY)")
    forked.after.execute("INSERT INTO t VALUES (1)")
    first, second = (diff_tables(forked.before, forked.after) for _ in range(2))
    assert first == second
    assert first[0].edits[0] == RowEdit(op="insert", key=("1",), before=None, after={"id": "1"}, base=None)
