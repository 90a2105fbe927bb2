"""From text to the statements of one transaction."""

from __future__ import annotations

import pytest

from orchestrator.migrations.script import Refused, read_script


def run(sql: str) -> list[str]:
    return [item.statement.sql.strip() for item in read_script(sql).statements]


def test_an_outer_transaction_is_left_out_and_noted() -> None:
    script = read_script("BEGIN;\nSELECT 1;\nCOMMIT;\n")
    assert [item.number for item in script.statements] == [2]
    assert script.notes


@pytest.mark.parametrize(
    "sql",
    [
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE; SELECT 1; END;",
        "BEGIN WORK; SELECT 1; COMMIT WORK;",
        "BEGIN; SELECT 1; COMMIT; BEGIN; COMMIT;",
    ],
)
def test_every_matched_pair_is_left_out(sql: str) -> None:
    assert run(sql) == ["SELECT 1;"]


def test_savepoints_stay() -> None:
    sql = "SAVEPOINT a; ROLLBACK TO SAVEPOINT a; RELEASE a;"
    assert len(run(sql)) == 3


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT 1;\nCOMMIT;", "COMMIT.*line 2"),
        ("BEGIN; SELECT 1;", "BEGIN has no COMMIT.*line 1"),
        ("BEGIN; BEGIN; COMMIT;", "BEGIN"),
        ("BEGIN; ROLLBACK;", "ROLLBACK"),
        ("ABORT;", "ABORT"),
        ("PREPARE TRANSACTION 'x';", "PREPARE"),
        ("COMMIT PREPARED 'x';", "COMMIT"),
        ("BEGIN; COMMIT AND CHAIN;", "COMMIT"),
        ("SELECT 1;\n\n  \\i other.sql\n", r"\\i is a psql command.*line 3"),
        ("SELECT 1; VACUUM FULL t;", "VACUUM cannot run in a transaction"),
        ("ALTER SYSTEM SET x = 1;", "ALTER SYSTEM"),
        ("CREATE DATABASE x;", "CREATE DATABASE"),
        ("COPY t TO STDOUT;", "TO STDOUT"),
        ("SELECT '\0';", "NUL character on line 1"),
        ("SELECT '\ud800';", "surrogate"),
    ],
)
def test_what_no_migration_may_hold_is_refused_with_its_line(sql: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        read_script(sql)


def test_words_within_quotes_and_bodies_are_not_commands() -> None:
    assert len(run("SELECT 'COMMIT;'; DO $$ BEGIN RAISE NOTICE '\\c'; END $$; -- ROLLBACK;\n")) == 2
