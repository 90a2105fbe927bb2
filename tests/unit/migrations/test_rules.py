"""What holds for every rule, whatever it is given."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.migrations.fixers import RULES
from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.guard import objection
from orchestrator.migrations.fixers.rule import Rule
from orchestrator.migrations.names import Column, SchemaNames, Table
from orchestrator.migrations.records import SqlError

BROKEN = [
    case["broken"]
    for path in sorted((Path(__file__).parents[2] / "fixtures" / "fixers").glob("*.yaml"))
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))
]
MESSAGES = [
    (None, "\\c is a psql command"),
    ("42601", 'syntax error at or near "x"'),
    ("42601", "syntax error at end of input"),
    ("42P01", 'relation "custmers" does not exist'),
    ("42P01", 'missing FROM-clause entry for table "items"'),
    ("42703", 'column "emial" of relation "t" does not exist'),
    ("42703", 'column "customerid" does not exist'),
    ("42703", "column x.custmer_id does not exist"),
    ("42704", 'type "interger" does not exist'),
    ("42883", "function lower(integer) does not exist"),
    ("42883", "operator does not exist: integer = text"),
    ("42883", "operator does not exist: text + unknown"),
    ("42883", "operator does not exist: bigint ~~ unknown"),
    ("42804", 'column "a" cannot be cast automatically to type integer'),
    ("42804", 'column "ok" is of type boolean but expression is of type integer'),
    ("42701", 'column "a" of relation "t" already exists'),
    ("42P07", 'relation "t" already exists'),
    ("42P06", 'schema "s" already exists'),
    ("23502", 'column "a" of relation "t" contains null values'),
    ("25001", "CREATE INDEX CONCURRENTLY cannot run inside a transaction block"),
    ("2BP01", "cannot drop table t because other objects depend on it"),
    ("3F000", 'schema "slaes" does not exist'),
    ("0A000", "cannot use column reference in DEFAULT expression"),
]
HINTS = [
    None,
    'You might need to specify "USING a::integer".',
    'Perhaps you meant to reference the table alias "i".',
    "SET target columns cannot be qualified with the relation name.",
]
COLUMNS = ("a", "email", "customer_id", "customerId", "Email", "ok")
SCHEMA = SchemaNames(
    tables=tuple(
        Table(schema="public", name=name, columns=tuple(Column(name=c, type="integer") for c in COLUMNS))
        for name in ("customers", "t", "OrderItems", "items")
    )
)


@st.composite
def contexts(draw: st.DrawFn) -> FixContext:
    """A broken migration, cut and joined at random, with any error at any place."""
    sql = draw(st.sampled_from(BROKEN))
    start, end = sorted((draw(st.integers(0, len(sql))), draw(st.integers(0, len(sql)))))
    sql = draw(st.sampled_from([sql, sql[start:end], sql[:start] + sql[end:], sql[:end], sql[start:]]))
    sqlstate, message = draw(st.sampled_from(MESSAGES))
    error = SqlError(
        sqlstate=sqlstate,
        message=message,
        position=draw(st.one_of(st.none(), st.integers(1, len(sql) + 2))),
        statement=draw(st.one_of(st.none(), st.integers(1, 4))),
        hint=draw(st.sampled_from(HINTS)),
        detail=draw(st.sampled_from([None, "view v depends on table t"])),
    )
    return FixContext(sql=sql, error=error, schema=SCHEMA)


@settings(max_examples=600, deadline=None)
@given(contexts())
def test_no_rule_fails_on_any_text_and_none_gets_past_the_guard(context: FixContext) -> None:
    for rule in RULES:
        fix = rule(context)
        if fix is not None:
            assert fix.sql != context.sql
            assert fix.note
            assert objection(context.sql, fix.sql, allowed=rule.allowed) is None


def test_rules_have_names_of_their_own() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("candidate", ["DROP TABLE t;", "SELECT 1;"])
def test_a_rule_that_destroys_or_changes_nothing_has_no_idea(candidate: str) -> None:
    rule = Rule(name="bad", repair=lambda _: Fix(sql=candidate, note="bad"))
    error = SqlError(sqlstate="42601", message="no")
    assert rule(FixContext(sql="SELECT 1;", error=error, schema=SCHEMA)) is None
