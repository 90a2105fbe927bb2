from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from psycopg import sql

from orchestrator.capture.rows import TableChange, diff_tables

SETUP = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN positive AS numeric CHECK (VALUE > 0);
CREATE TYPE pair AS (a int, b text);
CREATE TYPE nested AS (p pair, q mood[]);
CREATE TYPE textrange AS RANGE (subtype = text, collation = "C");
"""

LARGE = "(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 40000) g)"


class Case(NamedTuple):
    """Column type, SQL of the value before and after, and the two texts that the difference must show."""

    type: str
    old: str
    new: str
    before: str | None
    after: str | None


CASES = {
    "numeric scale": Case("numeric", "1.0", "1.00", "1.0", "1.00"),
    "numeric not a number": Case("numeric", "'NaN'", "'Infinity'", "NaN", "Infinity"),
    "negative zero": Case("float8", "0", "'-0'", "0", "-0"),
    "float not a number": Case("float8", "'NaN'", "'-Infinity'", "NaN", "-Infinity"),
    "last bit of a float": Case("float8", "0.1", "0.1::float8 + 1.4e-17", "0.1", "0.10000000000000002"),
    "single float": Case("float4", "0.1", "0.1000001", "0.1", "0.1000001"),
    "json spelling": Case("json", """'{"a":1}'""", """'{"a": 1}'""", '{"a":1}', '{"a": 1}'),
    "json order of keys": Case(
        "json", """'{"a":1,"b":2}'""", """'{"b":2,"a":1}'""", '{"a":1,"b":2}', '{"b":2,"a":1}'
    ),
    "jsonb number scale": Case("jsonb", "'[1.0]'", "'[1.00]'", "[1.0]", "[1.00]"),
    "array bounds": Case("int[]", "'{1,2}'", "'[0:1]={1,2}'", "{1,2}", "[0:1]={1,2}"),
    "array of null": Case("text[]", "'{NULL}'", """'{"NULL"}'""", "{NULL}", '{"NULL"}'),
    "array empty": Case("text[]", "'{}'", """'{""}'""", "{}", '{""}'),
    "composite null field": Case("pair", "ROW(1, NULL)", "ROW(1, '')", "(1,)", '(1,"")'),
    "composite all null": Case("pair", "NULL", "ROW(NULL, NULL)", None, "(,)"),
    "composite nested": Case(
        "nested", "ROW(ROW(1, 'x,y'), '{sad}')", "ROW(ROW(1, 'x,y'), '{happy}')", '("(1,""x,y"")",{sad})',
        '("(1,""x,y"")",{happy})',
    ),
    "range": Case("int4range", "'[1,5)'", "'empty'", "[1,5)", "empty"),
    "multirange": Case("int4multirange", "'{[1,2)}'", "'{[1,2),[5,6)}'", "{[1,2)}", "{[1,2),[5,6)}"),
    "range of one's own": Case("textrange", "'[a,b)'", "'[a,b]'", "[a,b)", "[a,b]"),
    "bytea": Case("bytea", r"'\x00'", r"'\x0000'", r"\x00", r"\x0000"),
    "null and empty": Case("text", "NULL", "''", None, ""),
    "empty and null": Case("text", "''", "NULL", "", None),
    "the mark of null in a copy": Case("text", "NULL", r"'\N'", None, r"\N"),
    "control characters": Case("text", r"E'a\tb\\'", r"E'a\nb\r\\t'", "a\tb\\", "a\nb\r\\t"),
    "characters beyond the first plane": Case("text", "'\U0001f331'", "'\U0001f333é'", "\U0001f331", "\U0001f333é"),
    "composed characters": Case("text", "'\u00e9'", "'e\u0301'", "\u00e9", "e\u0301"),
    "trailing space": Case("bpchar", "'a'", "'a '", "a", "a "),
    "padded": Case("char(3)", "'a'", "'b'", "a  ", "b  "),
    "single byte": Case('"char"', "'a'", "'b'", "a", "b"),
    "name": Case("name", "'a'", "'b'", "a", "b"),
    "enum": Case("mood", "'sad'", "'ok'", "sad", "ok"),
    "enum array": Case("mood[]", "'{sad,ok}'", "'{ok,sad}'", "{sad,ok}", "{ok,sad}"),
    "domain": Case("positive", "1", "1.0", "1", "1.0"),
    "moment": Case(
        "timestamptz", "'2024-03-01 12:00:00.000001+02'", "'2024-03-01 12:00:00.000002+02'",
        "2024-03-01 10:00:00.000001+00", "2024-03-01 10:00:00.000002+00",
    ),
    "moment before Christ": Case(
        "timestamp", "'0044-03-15 12:00 BC'", "'infinity'", "0044-03-15 12:00:00 BC", "infinity"
    ),
    "date": Case("date", "'2024-02-29'", "'-infinity'", "2024-02-29", "-infinity"),
    "time with a zone": Case("timetz", "'10:00+01'", "'09:00+00'", "10:00:00+01", "09:00:00+00"),
    "interval": Case("interval", "'1 day'", "'24 hours'", "1 day", "24:00:00"),
    "interval of mixed signs": Case(
        "interval", "'1 mon -1 day'", "'1 mon -1 day -00:00:01'", "1 mon -1 days", "1 mon -1 days -00:00:01"
    ),
    "money": Case("money", "1234.5::numeric", "-0.01::numeric", "$1,234.50", "-$0.01"),
    "point": Case("point", "'(1,2)'", "'(1,-0)'", "(1,2)", "(1,-0)"),
    "box": Case("box", "'(1,1),(0,0)'", "'(1,2),(0,0)'", "(1,1),(0,0)", "(1,2),(0,0)"),
    "circle of the same area": Case("circle", "'<(0,0),1>'", "'<(5,5),1>'", "<(0,0),1>", "<(5,5),1>"),
    "path": Case("path", "'((0,0),(1,1))'", "'[(0,0),(1,1)]'", "((0,0),(1,1))", "[(0,0),(1,1)]"),
    "polygon": Case("polygon", "'((0,0),(1,1))'", "'((0,0),(1,2))'", "((0,0),(1,1))", "((0,0),(1,2))"),
    "line": Case("line", "'{1,2,3}'", "'{2,4,6}'", "{1,2,3}", "{2,4,6}"),
    "segment": Case("lseg", "'[(0,0),(1,1)]'", "'[(1,1),(0,0)]'", "[(0,0),(1,1)]", "[(1,1),(0,0)]"),
    "uuid": Case(
        "uuid", "'00000000-0000-0000-0000-000000000000'", "'00000000-0000-0000-0000-000000000001'",
        "00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000001",
    ),
    "inet": Case("inet", "'10.0.0.1'", "'10.0.0.1/8'", "10.0.0.1", "10.0.0.1/8"),
    "macaddr": Case("macaddr", "'08:00:2b:01:02:03'", "'08:00:2b:01:02:04'", "08:00:2b:01:02:03", "08:00:2b:01:02:04"),
    "bits": Case("varbit", "B'01'", "B'010'", "01", "010"),
    "text search": Case("tsvector", "'a:1 b:2'", "'a:1,2'", "'a':1 'b':2", "'a':1,2"),
    "text query": Case("tsquery", "'a & b'", "'a | b'", "'a' & 'b'", "'a' | 'b'"),
    "path in json": Case("jsonpath", "'$.a'", "'$.b'", '$."a"', '$."b"'),
    "log position": Case("pg_lsn", "'0/1'", "'0/2'", "0/1", "0/2"),
    "name of a relation": Case("regclass", "'public.moods'", "'pg_class'", "public.moods", "pg_class"),
    "large text": Case("text", LARGE, f"overlay({LARGE} placing '!' from 640000)", None, None),
    "boolean": Case("bool", "true", "NULL", "t", None),
}  # fmt: skip


@pytest.fixture(scope="module")
def tables() -> dict[str, str]:
    return {name: f"t{number}" for number, name in enumerate(CASES)}


@pytest.fixture(scope="module")
def differences(
    fork_databases: Callable[..., Iterator[Any]],
    tables: dict[str, str],
    apply_edits: Callable[..., None],
) -> Iterator[tuple[dict[str, TableChange], tuple[TableChange, ...]]]:
    """The difference of each table, and what is left of it once the difference was applied to the other side."""
    seed = [SETUP, "CREATE TABLE moods (id int PRIMARY KEY)"]
    for name, case in CASES.items():
        seed.append(f"CREATE TABLE {tables[name]} (id int PRIMARY KEY, v {case.type})")
        # Two rows that stay as they are, one with each value.
        seed.append(f"INSERT INTO {tables[name]} VALUES (1, {case.old}), (2, {case.old}), (3, {case.new})")
    generator = fork_databases(*seed)
    forked = next(generator)
    for name, case in CASES.items():
        update = f"UPDATE {tables[name]} SET v = {case.new} WHERE id = 1"
        assert forked.after.execute(update.encode()).rowcount == 1
    found = {change.table: change for change in diff_tables(forked.before, forked.after)}
    apply_edits(forked.before, tuple(found.values()))
    yield found, diff_tables(forked.before, forked.after)
    assert next(generator, None) is None


@pytest.mark.parametrize("name", [name for name in CASES if name != "large text"])
def test_a_changed_value_is_found_exactly(
    name: str, tables: dict[str, str], differences: tuple[dict[str, TableChange], tuple[TableChange, ...]]
) -> None:
    case, change = CASES[name], differences[0][tables[name]]
    (edit,) = change.edits
    assert (edit.op, edit.key) == ("update", ("1",))
    assert edit.before == edit.base == {"id": "1", "v": case.before}
    assert edit.after == {"v": case.after}
    assert (change.inserted, change.updated, change.deleted, change.columns_touched) == (0, 1, 0, ("v",))


def test_one_character_of_a_large_text_is_found(
    tables: dict[str, str], differences: tuple[dict[str, TableChange], tuple[TableChange, ...]]
) -> None:
    (edit,) = differences[0][tables["large text"]].edits
    assert edit.before is not None
    assert edit.after is not None
    old, new = edit.before["v"], edit.after["v"]
    assert old is not None
    assert new is not None
    assert len(old) == 1_280_000
    assert [place for place in range(len(old)) if old[place] != new[place]] == [639_999]


def test_applying_the_difference_leaves_none(
    differences: tuple[dict[str, TableChange], tuple[TableChange, ...]],
) -> None:
    assert len(differences[0]) == len(CASES)
    assert differences[1] == ()


def test_settings_of_the_session_change_no_value(fork: Callable[..., Any]) -> None:
    forked = fork(
        "CREATE TABLE t (id int PRIMARY KEY, a timestamptz, b interval, c float8, d bytea, e money, f regclass);"
        r"INSERT INTO t VALUES (1, '2024-03-01 12:00+02', '1 mon -1 day', 0.1, '\x01', 1.5::numeric, 't')"
    )
    odd = {
        "datestyle": "German",
        "intervalstyle": "iso_8601",
        "timezone": "Asia/Kathmandu",
        "extra_float_digits": "-5",
        "bytea_output": "escape",
        "search_path": "public",
        "quote_all_identifiers": "on",
        "standard_conforming_strings": "off",
        "client_encoding": "LATIN1",
    }
    for name, value in odd.items():
        forked.after.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    assert diff_tables(forked.before, forked.after) == ()
    assert forked.after.execute("SHOW timezone").fetchone() == ("Asia/Kathmandu",)
