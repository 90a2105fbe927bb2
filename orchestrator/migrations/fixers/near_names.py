"""A name that does not exist, next to exactly one that does: misspelt, in the wrong number, or in another case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.scope import names_at_failure, tables_in_scope
from orchestrator.migrations.fixers.similar import the_one
from orchestrator.migrations.fixers.text import (
    Edit,
    is_name,
    placed,
    quote_name,
    replace_token,
    rewrite,
    text_of,
)
from orchestrator.migrations.fixers.types import COMMON_TYPES
from orchestrator.migrations.fixers.undefined import Undefined, read_undefined
from orchestrator.migrations.lexer import Token

_BEFORE_TABLE = frozenset(
    (
        "FROM",
        "JOIN",
        "INTO",
        "UPDATE",
        "TABLE",
        "ON",
        "REFERENCES",
        "ONLY",
        "EXISTS",
        "COPY",
        "USING",
        "INCLUDING",
        "LIKE",
    )
)
_COMMON_FUNCTIONS = """
abs age array_agg array_append array_length array_remove array_to_string avg btrim cardinality ceil ceiling
char_length clock_timestamp concat concat_ws count current_setting currval date_part date_trunc decode dense_rank
encode exp first_value floor format gen_random_uuid generate_series initcap json_agg json_build_object jsonb_agg
jsonb_array_elements jsonb_build_object jsonb_set lag lastval last_value lead left length lower lpad ltrim make_date
make_interval max md5 min mod nextval now ntile octet_length percent_rank position power random rank regexp_matches
regexp_replace regexp_split_to_array repeat replace reverse right round row_number row_to_json rpad rtrim setval
sha256 sign split_part sqrt statement_timestamp string_agg string_to_array strpos substr substring sum to_char
to_date to_json to_jsonb to_number to_timestamp translate trim trunc unnest upper
"""


def repair(context: FixContext) -> Fix | None:
    missing = read_undefined(context.error)
    failing = context.failing()
    if missing is None or failing is None:
        return None
    right = the_one(missing.name, _candidates(context, missing))
    if right is None:
        return None
    later = [s for s in context.statements() if s.start >= failing.start and not s.blank]
    edits: list[Edit] = []
    for statement in later:
        tokens = placed(statement)
        if statement is not failing and statement.start != failing.start and not _concerns(context, missing, tokens):
            continue
        edits += [
            replace_token(token, quote_name(right))
            for i, token in enumerate(tokens)
            if is_name(token) and token.identifier == missing.name and _is_use(missing, tokens, i)
        ]
    if not edits:
        return None
    return Fix(sql=rewrite(context.sql, edits), note=f"{missing.what} {missing.name} → {right}")


def _candidates(context: FixContext, missing: Undefined) -> Iterable[str]:
    names = names_at_failure(context)
    match missing.what:
        case "table":
            return [
                t.name
                for t in names.tables
                if t.schema == missing.schema or (not missing.schema and names.table(t.name))
            ]
        case "column":
            return _columns(context, missing)
        case "function":
            return (*names.functions, *_COMMON_FUNCTIONS.split())
        case "type":
            return (*names.types, *COMMON_TYPES)
        case "schema":
            return names.schemas


def _columns(context: FixContext, missing: Undefined) -> list[str]:
    """Of the table that the server names; else of all tables in the statement (an alias is not followed)."""
    tables = tables_in_scope(context)
    wanted = missing.table or missing.qualifier
    exact = [table for table in tables if table.name == wanted]
    return [column.name for table in exact or tables for column in table.columns]


def _concerns(context: FixContext, missing: Undefined, tokens: Sequence[Token]) -> bool:
    """Whether a later statement surely means the same thing by the same name."""
    if missing.what != "column":
        return True
    tables = {table.name for table in tables_in_scope(context)}
    return len(tables) == 1 and any(token.identifier in tables for token in tokens if is_name(token))


def _is_use(missing: Undefined, tokens: Sequence[Token], i: int) -> bool:
    before, after = text_of(tokens, i - 1), text_of(tokens, i + 1)
    match missing.what:
        case "table":
            return (
                before in _BEFORE_TABLE
                or after == "."
                or (before == "." and text_of(tokens, i - 3) in _BEFORE_TABLE)
                or (before == "," and after not in ("(", "=", ",", ")"))
            )
        case "column":
            return after not in (".", "(") and before != "AS" and not _names_table(tokens, i)
        case "function":
            return after == "("
        case "type":
            return before not in (".",) and after != "."
        case "schema":
            return after == "."


def _names_table(tokens: Sequence[Token], i: int) -> bool:
    return text_of(tokens, i - 1) in ("FROM", "JOIN", "INTO", "UPDATE", "TABLE", "REFERENCES")
