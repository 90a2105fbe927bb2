"""Applying: one transaction a migration, every attempt on record, sessions left as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from orchestrator.errors import MigrationError, ProviderUnavailable
from orchestrator.llm import ChatModel
from orchestrator.migrations.apply import apply_migration, replay
from orchestrator.migrations.files import Migration
from orchestrator.migrations.fixers import RULES
from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.llm import LlmFixer
from orchestrator.migrations.records import Attempt, MigrationOutcome
from orchestrator.testing.scripted_llm import Reply, ScriptedLlm

Conn = psycopg.Connection[Any]


@pytest.fixture(params=[True, False], ids=["autocommit", "manual"])
def conn(request: pytest.FixtureRequest, fresh_database: Callable[..., str]) -> Iterator[Conn]:
    with psycopg.connect(fresh_database("apply"), autocommit=request.param) as made:
        yield made


def apply(conn: Conn, text: str, *fixers: Any, **options: Any) -> MigrationOutcome:
    return apply_migration(conn, Migration(name="m.sql", sql=text), fixers=fixers, **options)


def value(conn: Conn, query: str) -> object:
    with conn.transaction():
        row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


@dataclass
class Scripted:
    """A fixer that gives its answers in turn, and remembers what it was asked."""

    answers: list[Fix | None]
    name: str = "scripted"
    asked: list[FixContext] = field(default_factory=list)

    def __call__(self, context: FixContext, /) -> Fix | None:
        self.asked.append(context)
        return self.answers.pop(0) if self.answers else None


def test_a_sound_migration_is_applied_byte_for_byte(conn: Conn) -> None:
    text = "-- 100 % sure\nCREATE TABLE t (a text);\r\nINSERT INTO t VALUES ('%s'), ('{}');\n"
    outcome = apply(conn, text, *RULES)
    assert (outcome.applied, outcome.final, outcome.statements) == (True, text, 2)
    assert [attempt.fixer for attempt in outcome.attempts] == ["none"]
    assert value(conn, "SELECT string_agg(a, '|') FROM t") == "%s|{}"
    assert conn.info.transaction_status is TransactionStatus.IDLE


def test_an_empty_migration_is_applied(conn: Conn) -> None:
    assert apply(conn, "-- nothing yet\n").applied


def test_a_failure_undoes_the_whole_migration_and_names_the_place(conn: Conn) -> None:
    text = "CREATE TABLE t (a int);\n\n/* é */ SELECT zork\n  FROM t;"
    outcome = apply(conn, text)
    assert (outcome.applied, outcome.final, outcome.statements) == (False, None, 1)
    assert outcome.error is not None
    assert (outcome.error.sqlstate, outcome.error.statement) == ("42703", 2)
    assert text[(outcome.error.position or 0) - 1 :].startswith("zork")
    assert value(conn, "SELECT to_regclass('t')") is None


def test_an_error_at_the_commit_belongs_to_no_statement(conn: Conn) -> None:
    outcome = apply(
        conn,
        "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (p int REFERENCES p DEFERRABLE INITIALLY DEFERRED);"
        "INSERT INTO c VALUES (9);",
    )
    assert outcome.error is not None
    assert (outcome.error.sqlstate, outcome.error.statement, outcome.error.position) == ("23503", None, None)
    assert "(9)" in (outcome.error.detail or "")
    assert value(conn, "SELECT to_regclass('c')") is None


def test_copy_data_is_loaded(conn: Conn) -> None:
    outcome = apply(
        conn, "CREATE TABLE t (a int, b text);\nCOPY t FROM STDIN;\n1\tx;\n2\t\\N\n\\.\nUPDATE t SET a = 3;"
    )
    assert (outcome.applied, outcome.statements) == (True, 3)
    assert value(conn, "SELECT count(b) FROM t") == 1


def test_bad_copy_data_is_a_failed_attempt(conn: Conn) -> None:
    outcome = apply(conn, "CREATE TABLE t (a int);\nCOPY t FROM STDIN;\nx\n\\.\n")
    assert outcome.error is not None
    assert (outcome.error.sqlstate, outcome.error.statement) == ("22P02", 2)


def test_an_outer_transaction_is_noted(conn: Conn) -> None:
    outcome = apply(conn, "BEGIN; CREATE TABLE t (a int); COMMIT;")
    assert outcome.applied
    assert "BEGIN" in outcome.notes[0]


@pytest.mark.parametrize(
    "text",
    [
        "SET standard_conforming_strings = off; SELECT 'a\\'; COMMIT; DROP TABLE keep; --';",
        "CREATE TABLE x (a int); COMMIT;",
        "DO $$ BEGIN COMMIT; END $$;",
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$; CALL p();",
    ],
)
def test_no_migration_ends_its_own_transaction(conn: Conn, text: str) -> None:
    apply(conn, "CREATE TABLE keep (a int);")
    assert not apply(conn, "CREATE TABLE half (a int);" + text).applied
    assert value(conn, "SELECT to_regclass('half')") is None
    assert value(conn, "SELECT to_regclass('keep')") == "keep"


def test_what_a_migration_sets_does_not_outlive_it(conn: Conn) -> None:
    outcome = apply(conn, "SET search_path = pg_catalog; SET ROLE pg_monitor; SET statement_timeout = 1;")
    assert outcome.applied
    assert value(conn, "SHOW search_path") == '"$user", public'
    assert value(conn, "SELECT current_user") == "postgres"
    assert value(conn, "SHOW statement_timeout") == "0"


def test_what_the_caller_set_survives_a_migration(conn: Conn) -> None:
    with conn.transaction():
        conn.execute("SET work_mem = '7MB'")
    apply(conn, "SET work_mem = '9MB'; CREATE TABLE t (a int);")
    assert value(conn, "SHOW work_mem") == "7MB"


def test_prepared_statements_of_the_driver_survive_a_migration(conn: Conn) -> None:
    for _ in range(8):
        assert apply(conn, "DEALLOCATE ALL;").applied


def test_a_statement_over_its_time_is_not_sent_to_a_fixer(conn: Conn) -> None:
    fixer = Scripted([Fix(sql="SELECT 1;", note="")])
    outcome = apply(conn, "SELECT pg_sleep(30);", fixer, statement_timeout_seconds=0.05)
    assert outcome.error is not None
    assert outcome.error.sqlstate == "57014"
    assert fixer.asked == []


def test_a_lock_over_its_time_is_not_sent_to_a_fixer(conn: Conn) -> None:
    apply(conn, "CREATE TABLE t (a int);")
    fixer = Scripted([Fix(sql="SELECT 1;", note="")])
    with psycopg.connect(conn.info.dsn, password=conn.info.password or None) as other:
        other.execute("LOCK TABLE t")
        outcome = apply(conn, "ALTER TABLE t ADD b int;", fixer, lock_timeout_seconds=0.05)
    assert outcome.error is not None
    assert outcome.error.sqlstate == "55P03"
    assert fixer.asked == []


def test_a_lost_connection_is_the_providers_failure(conn: Conn) -> None:
    with pytest.raises(ProviderUnavailable, match=r"m\.sql"):
        apply(conn, "SELECT pg_terminate_backend(pg_backend_pid());", *RULES)


def test_an_open_transaction_of_the_caller_is_a_mistake(conn: Conn) -> None:
    with conn.transaction(), pytest.raises(ValueError, match="idle"):
        apply(conn, "SELECT 1;")


def test_every_attempt_is_reported_and_three_are_the_end(conn: Conn) -> None:
    heard: list[Attempt] = []
    fixer = Scripted([Fix(sql=f"SELECT {word};", note=word) for word in ("two", "three", "four")])
    outcome = apply(conn, "SELECT one;", fixer, on_attempt=heard.append)
    assert not outcome.applied
    assert tuple(heard) == outcome.attempts
    assert [(a.number, a.fixer, a.note) for a in heard] == [
        (1, "none", ""),
        (2, "scripted", "two"),
        (3, "scripted", "three"),
    ]
    assert [asked.sql for asked in fixer.asked] == ["SELECT one;", "SELECT two;"]


def test_an_attempt_is_heard_of_outside_of_its_transaction(conn: Conn) -> None:
    states: list[TransactionStatus] = []
    apply(conn, "SELECT one;", on_attempt=lambda _: states.append(conn.info.transaction_status))
    assert states == [TransactionStatus.IDLE]


def test_a_text_that_was_tried_counts_as_no_idea(conn: Conn) -> None:
    stubborn = Scripted([Fix(sql="SELECT one;", note="")] * 3)
    clever = Scripted([Fix(sql="SELECT 1;", note="")], name="clever")
    outcome = apply(conn, "SELECT one;", stubborn, clever)
    assert outcome.repaired_by == "clever"


def test_an_unusable_answer_is_an_attempt(conn: Conn) -> None:
    fixer = Scripted([Fix(sql="", note="", problem="nonsense", tokens=7), Fix(sql="SELECT 1;", note="")])
    outcome = apply(conn, "SELECT one;", fixer)
    assert outcome.applied
    assert outcome.attempts[1].error is not None
    assert (outcome.attempts[1].error.message, outcome.attempts[1].tokens) == ("nonsense", 7)
    assert fixer.asked[1].sql == "SELECT one;"


def test_a_fixer_is_told_the_names_and_what_ran_before(conn: Conn) -> None:
    apply(conn, "CREATE TABLE kept (a int);")
    fixer = Scripted([])
    apply(conn, "CREATE TABLE t (a int); SELECT zork;", fixer)
    (asked,) = fixer.asked
    assert [table.name for table in asked.schema.tables] == ["kept"]
    assert asked.migration_so_far == "CREATE TABLE t (a int);"


def test_rules_come_before_the_model_and_the_model_repairs_the_rest(conn: Conn) -> None:
    apply(conn, "CREATE TABLE customers (id int, mail text); INSERT INTO customers VALUES (1, 'A');")
    broken = "UPDATE customers SET mail = lower(electronic_address),;"
    with ScriptedLlm(['```json\n{"sql": "UPDATE customers SET mail = lower(mail);"}\n```']) as llm:
        fixers = (*RULES, LlmFixer(model=ChatModel(base_url=llm.base_url, model="tiny", input_price=1, output_price=1)))
        outcome = apply(conn, broken, *fixers)
    assert [attempt.fixer for attempt in outcome.attempts] == ["none", "trailing_comma", "llm:tiny"]
    assert (outcome.repaired_by, outcome.attempts[2].tokens) == ("llm:tiny", 150)
    assert outcome.attempts[2].cost == pytest.approx(0.00015)
    assert value(conn, "SELECT mail FROM customers") == "a"
    assert "electronic_address" in llm.asked[0].prompt
    assert "customers (id integer, mail text)" in llm.asked[0].prompt


def test_a_model_that_only_breaks_things_changes_nothing(conn: Conn) -> None:
    apply(conn, "CREATE TABLE t (a int); INSERT INTO t VALUES (1);")
    with ScriptedLlm(["DROP TABLE t;", Reply(raw=b"{"), "never asked"]) as llm:
        model = ChatModel(base_url=llm.base_url, model="tiny", max_retries=0)
        outcome = apply(conn, "UPDATE t SET zork = 1;", LlmFixer(model=model))
    assert not outcome.applied
    assert [a.error.sqlstate for a in outcome.attempts if a.error] == ["42703", None, None]
    assert value(conn, "SELECT count(*) FROM t") == 1
    assert len(llm.asked) == 2


def test_a_right_that_the_role_lacks_is_not_sent_to_a_fixer(conn: Conn) -> None:
    fixer = Scripted([Fix(sql="SELECT 1;", note="")])
    outcome = apply(conn, "SET ROLE pg_monitor; CREATE SCHEMA mine;", fixer)
    assert outcome.error is not None
    assert outcome.error.sqlstate == "42501"
    assert fixer.asked == []


def test_replay_runs_in_the_callers_transaction(conn: Conn) -> None:
    entries = [Migration(name="1", sql="BEGIN; CREATE TABLE t (a int); COMMIT; SET search_path = 'x';")]
    with conn.transaction(force_rollback=True):
        conn.execute("SELECT 1")
        replay(conn, [*entries, Migration(name="2", sql="INSERT INTO t VALUES (1);")])
        assert conn.execute("SELECT count(*) FROM t").fetchone() == (1,)
    assert value(conn, "SELECT to_regclass('t')") is None


def test_replay_names_the_migration_that_fails(conn: Conn) -> None:
    entries = [Migration(name="1_good", sql="SELECT 1;"), Migration(name="2_bad", sql="SELECT 1; SELECT zork;")]
    with conn.transaction(force_rollback=True), pytest.raises(MigrationError, match="2_bad") as caught:
        replay(conn, entries)
    assert caught.value.context["sqlstate"] == "42703"
    assert (caught.value.context["statement"], caught.value.context["position"]) == (2, 18)


def test_replay_without_a_transaction_is_a_mistake(conn: Conn) -> None:
    with pytest.raises(ValueError, match="open transaction"):
        replay(conn, [])
