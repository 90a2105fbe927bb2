"""Splitting: exact, and the same as psql's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.migrations.lexer import Kind, lex
from orchestrator.migrations.split import split

FRAGMENTS = st.sampled_from(
    [
        *("'", '"', "$$", "$a$", "$a$b", "E'", "\\", "\\'", "''", "--", "/*", "*/", "\n", "\r\n", ";", "(", ")"),
        *("BEGIN ATOMIC", "CASE", "END", "CREATE FUNCTION f() ", "CREATE OR REPLACE PROCEDURE p() "),
        *("COPY t FROM STDIN;\n1\t2\n\\.\n", "COPY t FROM STDIN;", "\\.", "\\c x", "U&'", 'U&"', "x'", "n'", "`", "["),
        *("select 1", "a$b$", "$1", "1e5", "1..2", ".5", "<--x", "+/*c*/", "é", "\u00a0", "😀", " ", "\t", "::", ":="),
    ]
)
SCRIPTS = st.one_of(st.text(max_size=60), st.lists(FRAGMENTS, max_size=25).map("".join))


@given(SCRIPTS)
def test_the_pieces_joined_are_the_script(sql: str) -> None:
    pieces = split(sql)
    assert "".join(piece.text for piece in pieces) == sql
    assert [piece.start for piece in pieces] == [0, *(piece.end for piece in pieces)][: len(pieces)]


@given(SCRIPTS)
def test_the_tokens_joined_are_the_text(sql: str) -> None:
    tokens = lex(sql)
    assert "".join(token.text for token in tokens) == sql
    assert all(sql[token.start : token.end] == token.text for token in tokens)


@given(SCRIPTS)
def test_a_piece_alone_splits_into_itself(sql: str) -> None:
    for piece in split(sql):
        assert [again.text for again in split(piece.text)] == [piece.text]


def statements(sql: str) -> list[str]:
    return [piece.sql.strip().removesuffix(";") for piece in split(sql) if not piece.blank]


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("a; b;", ["a", "b"]),
        ("a; -- ;\n b", ["a", "-- ;\n b"]),
        ("select ';'; b", ["select ';'", "b"]),
        ("select 'it''s;'; b", ["select 'it''s;'", "b"]),
        (r"select E'\';'; b", [r"select E'\';'", "b"]),
        (r"select 'a\'; b", [r"select 'a\'", "b"]),
        ("select E'a'\n'\\';'; b", ["select E'a'\n'\\';'", "b"]),
        ('select ";"; b', ['select ";"', "b"]),
        ('select U&"\\0441;"; b', ['select U&"\\0441;"', "b"]),
        ("select $$;$$; b", ["select $$;$$", "b"]),
        ("select $a$ $$;$$ ;$a$; b", ["select $a$ $$;$$ ;$a$", "b"]),
        ("select a$b$;c$b$; d", ["select a$b$", "c$b$", "d"]),
        ("select $1; b", ["select $1", "b"]),
        ("/* ; /* ; */ ; */ a; b", ["/* ; /* ; */ ; */ a", "b"]),
        ("select (1;2); b", ["select (1;2)", "b"]),
        ("select 1)); b", ["select 1))", "b"]),
        ("create rule r as on insert to t do (a; b); c", ["create rule r as on insert to t do (a; b)", "c"]),
        ("select 5+/*;*/3; b", ["select 5+/*;*/3", "b"]),
        ("select 5<--;\n3; b", ["select 5<--;\n3", "b"]),
        (
            "create function f() returns int begin atomic select 1; select case 1 when 1 then 2 end; end; b",
            ["create function f() returns int begin atomic select 1; select case 1 when 1 then 2 end; end", "b"],
        ),
        (
            "create or replace procedure p(begin int) begin atomic select t.case from t; end; b",
            ["create or replace procedure p(begin int) begin atomic select t.case from t; end", "b"],
        ),
        ("begin; atomic; end", ["begin", "atomic", "end"]),
        ("do $$ begin a; end $$; b", ["do $$ begin a; end $$", "b"]),
    ],
)
def test_statements_end_where_psql_ends_them(sql: str, wanted: list[str]) -> None:
    assert statements(sql) == wanted


def test_copy_data_belongs_to_its_statement() -> None:
    first, second = split("COPY t FROM STDIN;\n1\ta;b\n'\n\\.\nselect 1;")
    assert (first.sql, first.copy_data) == ("COPY t FROM STDIN;", "1\ta;b\n'\n")
    assert (second.sql, second.copy_data) == ("select 1;", None)


def test_copy_data_without_an_end_runs_to_the_end_of_the_file() -> None:
    (only,) = split("COPY t (a) FROM stdin WITH (FORMAT csv);\r\n1\r\n2")
    assert only.copy_data == "1\r\n2"


def test_copy_from_a_file_has_no_data() -> None:
    assert [piece.copy_data for piece in split("COPY t FROM '/x';\nselect 1;")] == [None, None]


def test_a_psql_command_ends_with_its_line() -> None:
    pieces = split("\\connect other; db\nselect 1;")
    assert pieces[0].text == "\\connect other; db"
    assert pieces[0].tokens[0].kind is Kind.META


@pytest.mark.parametrize("sql", ["", " \n", "-- only\n", ";", "/* open"])
def test_blank_pieces_are_known_as_such(sql: str) -> None:
    assert all(piece.blank for piece in split(sql))


@pytest.mark.parametrize("sql", ["'open", '"open', "$$open", "$a$open$$", "E'open\\'", "/* /* */"])
def test_an_unclosed_quote_is_marked(sql: str) -> None:
    assert not lex(sql)[-1].closed


def test_megabytes_of_literals_are_split_in_reasonable_time() -> None:
    sql = "INSERT INTO t VALUES (" + ",".join(["'it''s some text'"] * 100_000) + ");"
    assert len(split(sql * 2)) == 2
