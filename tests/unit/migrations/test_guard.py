"""No repair may destroy, take rights, invent data or leave something out."""

from __future__ import annotations

import pytest

from orchestrator.migrations.fixers.guard import objection

CASCADE = "CREATE TABLE c (a int REFERENCES p ON DELETE CASCADE);"
TABLE = "CREATE TABLE t (a int NOT NULL, b text UNIQUE CHECK (b <> ''));"


@pytest.mark.parametrize(
    ("original", "candidate"),
    [
        ("INSERT INTO t VALUES (1);", "TRUNCATE t; INSERT INTO t VALUES (1);"),
        ("CREATE TABLE t (a int);", "DROP TABLE IF EXISTS t; CREATE TABLE t (a int);"),
        ("CREATE TABLE t (a int);", "CREATE TABLE IF NOT EXISTS t (a int);"),
        ("CREATE VIEW v AS SELECT 1;", "CREATE OR REPLACE VIEW v AS SELECT 1;"),
        ("UPDATE t SET a = 1 WHERE b = 2;", "UPDATE t SET a = 1;"),
        ("UPDATE t SET a = 1;", "UPDATE t SET a = 1; DELETE FROM t;"),
        ("SELECT 1;", "SELECT 1; GRANT ALL ON t TO x;"),
        ("SELECT 1;", "SELECT 1; ALTER ROLE x SUPERUSER;"),
        ("SELECT 1;", "SELECT 1; COPY t FROM PROGRAM 'id';"),
        ("SELECT 1;", "SELECT 1; DO $$ BEGIN DROP TABLE t; END $$;"),
        ("SELECT 1;", "SELECT 1; DO $$ BEGIN EXECUTE 'x'; END $$;"),
        ("SELECT 1;", "SELECT 1; SET session_replication_role = replica;"),
        ("SELECT 1;", "SELECT 1; INSERT INTO t VALUES (1);"),
        ("DROP TABLE a;", "DROP TABLE b;"),
        ("DROP TABLE a;", "DROP TABLE a CASCADE;"),
        ("DELETE FROM t WHERE a = 1;", "DELETE FROM t WHERE a = 2;"),
        ("DELETE FROM t WHERE a = 1 AND b = 2;", "DELETE FROM t;"),
        ("CREATE TABLE a (x int); CREATE TABLE b (y int);", "CREATE TABLE a (x int);"),
        (TABLE, TABLE.replace("NOT NULL", "")),
        (TABLE, TABLE.replace("UNIQUE", "")),
        (TABLE, TABLE.replace("CHECK (b <> '')", "")),
        ("CREATE TABLE t (a int REFERENCES p, b int);", "CREATE TABLE t (a int, b int);"),
        ("CREATE TABLE t (a int, b int);", "CREATE TABLE t (a int);"),
        ("ALTER TABLE t ADD a int, ADD b int;", "ALTER TABLE t ADD a int;"),
        ("INSERT INTO t VALUES (1, 2), (3, 4);", "INSERT INTO t VALUES (1, 2);"),
        ("INSERT INTO t VALUES (1);", "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING;"),
        ("ALTER TABLE t ADD CHECK (a > 0);", "ALTER TABLE t ADD CHECK (a > 0) NOT VALID;"),
        ("ALTER TABLE t ADD CHECK (a > 0);", "ALTER TABLE t DISABLE TRIGGER ALL; ALTER TABLE t ADD CHECK (a > 0);"),
        ("SELECT 1;", "\\c other\nSELECT 1;"),
        ("SELECT 1;", "COMMIT; SELECT 1;"),
        ("SELECT 1;", ""),
        (
            "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ UPDATE t SET a = 1 $$;",
            "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ DELETE FROM t $$;",
        ),
    ],
)
def test_a_harmful_candidate_is_refused(original: str, candidate: str) -> None:
    assert objection(original, candidate) is not None


@pytest.mark.parametrize(
    ("original", "candidate"),
    [
        ("CREATE TABLE t (a int,);", "CREATE TABLE t (a int);"),
        ("CREATE TABLE `t` (a datetime);", "CREATE TABLE t (a timestamp);"),
        ("CREATE TABLE t (a int, KEY k (a));", "CREATE TABLE t (a int); CREATE INDEX k ON t (a);"),
        ("INSERT IGNORE INTO t VALUES (1);", "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING;"),
        ("DELETE FROM `Orders` WHERE a = 1;", 'DELETE FROM "orders" WHERE a = 1;'),
        ("BEGIN; SELECT 1; COMMIT;", "SELECT 1;"),
        ("USE x; CREATE TABLE t (a int);", "CREATE TABLE t (a int);"),
        ("Sure:\n```sql\nDROP TABLE t;\n```", "DROP TABLE t;"),
        ("CRATE TABLE t (a int);", "CREATE TABLE t (a int);"),
        ("CREATE TABLE a (x int)\nINSERT INTO a VALUES (1);", "CREATE TABLE a (x int);\nINSERT INTO a VALUES (1);"),
        (
            "CREATE TABLE c (p int REFERENCES p ON DELETE CASCADE,);",
            "CREATE TABLE c (p int REFERENCES p ON DELETE CASCADE);",
        ),
    ],
)
def test_a_faithful_candidate_passes(original: str, candidate: str) -> None:
    assert objection(original, candidate) is None


def test_a_rule_may_show_that_a_phrase_is_harmless() -> None:
    original, candidate = "CREATE SCHEMA s;", "CREATE SCHEMA IF NOT EXISTS s;"
    assert objection(original, candidate, allowed=[("IF", "NOT", "EXISTS")]) is None
    assert objection(original, candidate) is not None
