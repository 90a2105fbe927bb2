"""A merge happens once or not at all, whatever goes wrong and whoever asks twice."""

from __future__ import annotations

import threading
import uuid

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from orchestrator.capture.fingerprint import read_schema
from orchestrator.capture.schema import ObjectChange
from orchestrator.errors import MergeRefused, MigrationError, PrivilegeMissing, TargetUnreachable
from orchestrator.merge import marker, session
from orchestrator.migrations.apply import replay

SHOP = "CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 9) n;"
RUN = "clean/careful#1"


@pytest.fixture
def edited(world):
    """A run that edited one row and applied one migration."""
    world.prepare(
        SHOP, ledger=[("0001_c.sql", "ALTER TABLE t ADD COLUMN c integer")], run="UPDATE t SET v = 'x' WHERE id = 1"
    )
    return world


def wait_until(world, question) -> None:
    """Ask the target until the answer is yes."""
    for _ in range(600):
        if world.value("target", question):
            return
        threading.Event().wait(0.05)
    raise AssertionError(question)


def untouched(world) -> bool:
    columns = "SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0"
    same = world.value("target", "SELECT v FROM t WHERE id = 1") == "v1" and world.value("target", columns) == 2
    return same and world.value("target", "SELECT count(*) FROM forkyard.merges") == 0


def test_a_second_merge_finds_the_first_ones_marker(edited, installation):
    changeset = edited.changeset()
    first, second = edited.merge(changeset), edited.merge(changeset)
    assert (first.already, first.updated, first.migrations) == (False, 1, 1)
    assert (second.already, second.updated, second.merged_at) == (True, 0, first.merged_at)
    with edited.connect("target") as conn:
        found = marker.read(conn, RUN, installation=installation)
    assert found is not None
    assert (found.outcome, found.changeset_hash) == ("merged", changeset.content_hash)


def test_another_changeset_of_a_merged_run_is_refused(edited):
    edited.merge()
    edited.run_sql("fork", "UPDATE t SET v = 'y' WHERE id = 2")
    with pytest.raises(MergeRefused, match="another changeset"):
        edited.merge()


def test_another_installations_run_of_the_same_name_is_another_run(world):
    world.prepare(SHOP, run="UPDATE t SET v = 'x' WHERE id = 1")
    world.merge()
    assert not world.merge(installation=uuid.uuid4()).already


def test_two_merges_at_once_merge_once(edited):
    changeset, inside, go = edited.changeset(), threading.Event(), threading.Event()
    reports = []

    def slow(conn, ledger):
        inside.set()
        assert go.wait(20)
        conn.execute(ledger[0].sql.encode())

    threads = [threading.Thread(target=lambda: reports.append(edited.merge(changeset, apply_ledger=slow)))]
    threads[0].start()
    assert inside.wait(20)
    threads.append(threading.Thread(target=lambda: reports.append(edited.merge(changeset, lock_timeout_seconds=30))))
    threads[1].start()
    wait_until(
        edited,
        "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    go.set()
    for thread in threads:
        thread.join(30)
    assert sorted(report.already for report in reports) == [False, True]


def test_a_closed_run_is_never_merged(edited, installation):
    with edited.connect("target") as conn:
        closed = marker.close_run(conn, RUN, installation=installation)
        assert marker.close_run(conn, RUN, installation=installation) == closed
    assert closed.outcome == "closed"
    with pytest.raises(MergeRefused, match="closed"):
        edited.merge()
    assert edited.value("target", "SELECT v FROM t WHERE id = 1") == "v1"


def test_closing_a_merged_run_tells_that_it_was_merged(edited, installation):
    edited.merge()
    with edited.connect("target") as conn:
        assert marker.close_run(conn, RUN, installation=installation).outcome == "merged"


def test_the_marker_table_can_be_installed_again(edited):
    with edited.connect("target") as conn:
        marker.install(conn)
        marker.install(conn)
        assert marker.installed(conn)


def test_a_changed_schema_asks_for_a_new_baseline(edited):
    changeset = edited.changeset()
    edited.run_sql("target", "CREATE INDEX later ON t (v)")
    with pytest.raises(MergeRefused, match="forkyard baseline create") as refused:
        edited.merge(changeset)
    assert refused.value.context["drift"] is True
    assert untouched(edited)


def test_a_table_that_is_gone_is_drift(edited):
    changeset = edited.changeset()
    edited.run_sql("target", "DROP TABLE t")
    with pytest.raises(MergeRefused) as refused:
        edited.merge(changeset)
    assert refused.value.context["drift"] is True


def test_schema_changes_outside_of_migrations_are_refused_by_name(edited):
    edited.run_sql("fork", "CREATE INDEX by_hand ON t (v)")
    with pytest.raises(MergeRefused, match="by_hand") as refused:
        edited.merge()
    assert all(isinstance(change, ObjectChange) for change in refused.value.context["unrecorded"])
    assert untouched(edited)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT 1 / 0", "division by zero"),
        ("INSERT INTO t VALUES (1, 'again')", "duplicate key"),
        (
            "DELETE FROM forkyard.merges; INSERT INTO forkyard.merges VALUES (gen_random_uuid(), 'x', 'closed')",
            "marker",
        ),
        ("DROP SCHEMA forkyard CASCADE", "merges"),
    ],
)
def test_a_migration_that_fails_on_the_target_changes_nothing(edited, statement, said):
    changeset = edited.changeset()

    def apply(conn, ledger):
        conn.execute(ledger[0].sql.encode())
        conn.execute(statement.encode())

    with pytest.raises(MergeRefused, match=said):
        edited.merge(changeset, apply_ledger=apply)
    assert untouched(edited)


def test_a_failing_migration_is_named(edited):
    def fail(conn, ledger):
        raise MigrationError("line 3 is wrong")

    with pytest.raises(MergeRefused, match=r"migration 0001_c\.sql.*line 3 is wrong"):
        edited.merge(apply_ledger=fail)


def test_a_migration_that_waits_too_long_for_a_lock_advises_to_try_again(world):
    world.prepare(SHOP, ledger=[("0001_c.sql", "ALTER TABLE t ADD COLUMN c integer")])
    changeset = world.changeset()
    with world.connect("target") as other:
        other.execute("SELECT FROM t")
        with pytest.raises(MergeRefused, match=r"0001_c\.sql.*try again") as refused:
            world.merge(changeset, lock_timeout_seconds=0.2, apply_ledger=replay)
    assert refused.value.context["retry"] is True
    assert world.merge(changeset, apply_ledger=replay).migrations == 1


def test_a_migration_that_ends_the_transaction_is_found_out(edited):
    def ends(conn, ledger):
        conn.execute("COMMIT")
        conn.execute("BEGIN")

    with pytest.raises(MergeRefused, match="ended the merge's transaction") as refused:
        edited.merge(apply_ledger=ends)
    assert refused.value.context["partial"] is True
    assert untouched(edited)


def test_migrations_run_in_an_ordinary_session_and_edits_are_safe_from_what_they_set(edited):
    seen = []

    def apply(conn, ledger):
        shown = (
            "SELECT current_setting('search_path'), current_setting('application_name'), current_setting('datestyle')"
        )
        seen.append(conn.execute(shown).fetchone())
        conn.execute(ledger[0].sql.encode())
        conn.execute(
            "SET search_path = nowhere; SET datestyle = 'German'; SET LOCAL statement_timeout = 200;"
            "SET lock_timeout = 1; SET ROLE NONE"
        )

    changeset = edited.changeset()
    assert edited.merge(changeset, apply_ledger=apply).updated == 1
    assert seen == [('"$user", public', "forkyard-merge", "ISO, MDY")]


def test_writers_wait_and_readers_do_not_while_a_run_is_merged(edited):
    tried = []

    def apply(conn, ledger):
        with edited.connect("target", options="-c lock_timeout=100ms") as other:
            tried.append(other.execute("SELECT v FROM t WHERE id = 1").fetchone())
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("UPDATE t SET v = 'theirs' WHERE id = 1")
        conn.execute(ledger[0].sql.encode())

    edited.merge(apply_ledger=apply)
    assert tried == [("v1",)]


def test_a_lock_that_is_not_free_in_time_advises_to_try_again(edited):
    changeset = edited.changeset()
    with edited.connect("target") as other:
        other.execute("UPDATE t SET v = v WHERE id = 9")
        with pytest.raises(MergeRefused, match="try again") as refused:
            edited.merge(changeset, lock_timeout_seconds=0.2)
    assert refused.value.context["retry"] is True
    assert untouched(edited)
    assert edited.merge(changeset).updated == 1


def test_a_statement_that_takes_too_long_is_refused(edited):
    def slow(conn, ledger):
        conn.execute("SELECT pg_sleep(30)")

    with pytest.raises(MergeRefused, match="longer than the target's limit"):
        edited.merge(statement_timeout_seconds=1, apply_ledger=slow)
    assert untouched(edited)


def test_a_target_without_a_marker_table_is_refused(edited):
    changeset = edited.changeset()
    edited.run_sql("target", "DROP SCHEMA forkyard CASCADE")
    with pytest.raises(PrivilegeMissing, match="forkyard project add"):
        edited.merge(changeset)


def test_a_login_that_may_not_write_is_told_so(edited, stranger):
    changeset = edited.changeset()
    edited.run_sql(
        "target", f"GRANT USAGE ON SCHEMA forkyard TO {stranger}; GRANT SELECT, INSERT ON forkyard.merges TO {stranger}"
    )
    with pytest.raises(PrivilegeMissing, match="owner of the tables"):
        edited.merge(changeset, conninfo=edited.url("target", user=stranger))
    assert untouched(edited)


def test_triggers_that_only_the_owner_can_silence_need_the_owner(world, stranger):
    world.prepare(
        SHOP + "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER tr BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f();",
        run="UPDATE t SET v = 'x' WHERE id = 1",
    )
    world.run_sql(
        "target",
        f"GRANT USAGE ON SCHEMA forkyard TO {stranger}; GRANT SELECT, INSERT ON forkyard.merges TO {stranger};"
        f"GRANT ALL ON t TO {stranger}",
    )
    with world.connect("target") as conn:
        world.fingerprint = read_schema(conn).fingerprint
    with pytest.raises(PrivilegeMissing, match="only the table's owner"):
        world.merge(conninfo=world.url("target", user=stranger))
    assert world.value("target", "SELECT v FROM t WHERE id = 1") == "v1"


@pytest.mark.parametrize(
    "changes",
    [{"port": "1"}, {"dbname": "no_such_database"}, {"host": "no-such-host.invalid"}, {"user": "no_such_login"}],
)
def test_an_unreachable_target_is_one_sentence_without_the_password(edited, changes):
    conninfo = make_conninfo(edited.url("target"), **{"password": "hunter2-secret", "connect_timeout": "3", **changes})
    with pytest.raises(TargetUnreachable, match="cannot be reached") as raised:
        edited.merge(conninfo=conninfo)
    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)


class LostBefore(psycopg.Connection):
    """Its server session ends right before COMMIT."""

    def commit(self):
        end(self.info.backend_pid, self.info.dsn)
        super().commit()


class LostAfter(psycopg.Connection):
    """COMMIT arrives, its answer does not."""

    def commit(self):
        super().commit()
        end(self.info.backend_pid, self.info.dsn)
        self.execute("SELECT 1")


def end(pid, dsn):
    with psycopg.connect(dsn, password="of the tests alone", autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def losing(kind):
    connections = []

    def connect(conninfo):
        if connections:
            return session.connect(conninfo)
        connections.append(kind.connect(conninfo))
        return connections[0]

    return connect


def test_a_connection_lost_before_commit_merged_nothing_and_says_so(edited):
    changeset = edited.changeset()
    with pytest.raises(TargetUnreachable, match="nothing was merged") as raised:
        edited.merge(changeset, connect=losing(LostBefore))
    assert raised.value.context["unknown"] is False
    assert untouched(edited)
    assert not edited.merge(changeset).already


def test_a_commit_whose_answer_was_lost_is_found_to_be_done(edited):
    report = edited.merge(connect=losing(LostAfter))
    assert not report.already
    assert edited.value("target", "SELECT v FROM t WHERE id = 1") == "x"
    assert edited.merge().already


def test_an_outcome_that_nobody_can_tell_is_said_to_be_unknown(edited, monkeypatch):
    monkeypatch.setattr("orchestrator.merge.commit.PAUSE_SECONDS", 0)
    made = []

    def connect(conninfo):
        made.append(conninfo)
        if len(made) > 1:
            raise psycopg.OperationalError("no answer")
        return LostAfter.connect(conninfo)

    with pytest.raises(TargetUnreachable, match="not known yet") as raised:
        edited.merge(connect=connect)
    assert raised.value.context["unknown"] is True
    assert edited.merge().already


def test_a_session_lost_midway_merged_nothing(edited):
    def lose(conn, ledger):
        end(conn.info.backend_pid, conn.info.dsn)
        conn.execute("SELECT 1")

    with pytest.raises(TargetUnreachable, match="nothing was merged"):
        edited.merge(apply_ledger=lose)
    assert untouched(edited)


def test_a_deferred_constraint_that_fails_at_commit_is_a_refusal(world):
    world.prepare(
        SHOP + "ALTER TABLE t ADD UNIQUE (v) DEFERRABLE INITIALLY DEFERRED;",
        run="INSERT INTO t VALUES (20, 'same')",
        target="INSERT INTO t VALUES (21, 'same')",
    )
    with pytest.raises(MergeRefused, match="same"):
        world.merge()
    assert world.value("target", "SELECT count(*) FROM t WHERE id = 20") == 0
