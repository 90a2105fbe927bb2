"""Names whose letter case is lost or wrongly kept: customerId for "customerId", or "Email" for email."""

from __future__ import annotations

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.scope import names_at_failure, tables_in_scope
from orchestrator.migrations.fixers.text import (
    RESERVED,
    VERBS,
    failing_tokens,
    is_name,
    placed,
    quote_name,
    replace_token,
    rewrite,
    text_of,
)
from orchestrator.migrations.fixers.types import is_type_name
from orchestrator.migrations.fixers.undefined import Undefined, read_undefined
from orchestrator.migrations.lexer import Token


def repair(context: FixContext) -> Fix | None:
    missing = read_undefined(context.error)
    failing = context.failing()
    if missing is None or failing is None or missing.what not in ("table", "column"):
        return None
    found = {name for name in _candidates(context, missing) if name.lower() == missing.name.lower()}
    if len(found) != 1:
        return None
    right = found.pop()
    lost = {missing.name: right, **_also_lost(context)}
    # Before the failing statement the same letters were understood, so they mean something else there.
    edits = [
        replace_token(token, quote_name(lost[token.identifier]))
        for statement in context.statements()
        if statement.start >= failing.start
        for tokens in [placed(statement)]
        for i, token in enumerate(tokens)
        if is_name(token) and token.identifier in lost and not _is_call(tokens, i)
    ]
    note = f"{missing.what} {missing.name} → {quote_name(right)}"
    return Fix(sql=rewrite(context.sql, edits), note=note) if edits else None


def _is_call(tokens: tuple[Token, ...], i: int) -> bool:
    before = text_of(tokens, i - 1)
    return text_of(tokens, i + 1) == "(" and before not in ("INTO", "ON", "REFERENCES", "TABLE", "EXISTS", ".")


def _also_lost(context: FixContext) -> dict[str, str]:
    """The mixed-case columns of every table that the statement means, whatever its own case, by their folded name.

    Where one is lost the others are too, and one try repairs them all. A folded name that also exists as it is,
    or that is a word of the language, is left alone.
    """
    folded = {token.identifier.lower() for token in failing_tokens(context) if is_name(token)}
    tables = [table for table in names_at_failure(context).tables if table.name.lower() in folded]
    columns = {column.name for table in tables for column in table.columns}
    by_folded: dict[str, set[str]] = {}
    for name in columns:
        by_folded.setdefault(name.lower(), set()).add(name)
    return {
        key: next(iter(names))
        for key, names in by_folded.items()
        if len(names) == 1 and key not in columns and key.upper() not in RESERVED | VERBS and not is_type_name(key)
    }


def _candidates(context: FixContext, missing: Undefined) -> list[str]:
    if missing.what == "table":
        names = names_at_failure(context)
        return [t.name for t in names.tables if not missing.schema or t.schema == missing.schema]
    return [column.name for table in tables_in_scope(context) for column in table.columns]
