"""Every rule against a real Postgres: cases are data, judged by their effect on schema and rows."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from orchestrator.migrations.apply import apply_migration
from orchestrator.migrations.files import Migration
from orchestrator.migrations.fixers import RULES

CASES = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in sorted((Path(__file__).parents[2] / "fixtures" / "fixers").glob("*.yaml"))
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))
]

COLUMNS = """
SELECT n.nspname, c.relname, c.relkind::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, col_description(c.oid, a.attnum),
       obj_description(c.oid), s.seqstart, s.seqincrement
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
LEFT JOIN pg_sequence s ON s.seqrelid = pg_get_serial_sequence(c.oid::regclass::text, a.attname)::regclass
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'v', 'm')
ORDER BY 1, 2, a.attname
"""
REST = """
SELECT 'constraint', conrelid::regclass::text, pg_get_constraintdef(k.oid) FROM pg_constraint k
JOIN pg_namespace n ON n.oid = k.connamespace WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL SELECT 'index', '', pg_get_indexdef(indexrelid) FROM pg_index
JOIN pg_class c ON c.oid = indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_'
UNION ALL SELECT 'function', proname, prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL SELECT 'enum', t.typname, e.enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
UNION ALL SELECT 'schema', '', nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
ORDER BY 1, 2, 3
"""


@pytest.fixture(scope="module")
def conn(admin_url: str) -> Iterator[psycopg.Connection[Any]]:
    name = f"fixer_rules_{uuid.uuid4().hex[:10]}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with psycopg.connect(psycopg.conninfo.make_conninfo(admin_url, dbname=name), autocommit=True) as made:
            yield made
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def reset(conn: psycopg.Connection[Any], schema: str) -> None:
    found = conn.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'")
    for (name,) in found.fetchall():
        conn.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))
    conn.execute("CREATE SCHEMA public")
    conn.execute(schema.encode())


def effect(conn: psycopg.Connection[Any]) -> dict[str, object]:
    columns = conn.execute(COLUMNS).fetchall()
    rows = {
        f"rows of {table}": conn.execute(
            sql.SQL("SELECT to_jsonb(t)::text FROM {} AS t ORDER BY 1").format(sql.Identifier(schema, table))
        ).fetchall()
        for schema, table in sorted({(row[0], row[1]) for row in columns})
    }
    return {"columns": columns, "rest": conn.execute(REST).fetchall(), **rows}


@pytest.mark.parametrize("case", CASES)
def test_a_broken_migration_ends_with_the_right_effect(conn: psycopg.Connection[Any], case: dict[str, Any]) -> None:
    # `beyond_rules`: a repair exists, but no rule knows it yet.
    schema, right = case.get("schema", ""), None if case.get("beyond_rules") else case["right"]
    reset(conn, schema)
    if right is not None:
        conn.execute(right.encode())
    wanted = effect(conn)
    reset(conn, schema)

    outcome = apply_migration(conn, Migration(name=case["name"], sql=case["broken"]), fixers=RULES)

    story = "\n".join(f"{a.number} {a.fixer}: {a.error}\n{a.sql}" for a in outcome.attempts)
    assert outcome.attempts[0].error is not None, "the case is not broken"
    assert outcome.applied == (right is not None), story
    assert effect(conn) == wanted, story
    if case.get("by"):
        assert outcome.repaired_by == case["by"], story
