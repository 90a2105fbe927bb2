"""Whether the SQL of a metric or a check is one statement that only reads."""

from __future__ import annotations

import logging
import re

_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/|\()*(?P<word>[A-Za-z]+)?", re.DOTALL)
_READING = ("select", "with", "values", "table")


def problem_with_query(query: str) -> str | None:
    """What is wrong with it, as a sentence that goes after its name; None where it is fine.

    Tolerant: what the parser does not know is let through, because the database has the last word.
    """
    match = _FIRST_WORD.match(query)
    word = (match["word"] or "") if match else ""
    if not word:
        return "holds no SQL; write one SELECT that gives one value"
    if word.lower() not in _READING:
        return f"must be one SELECT that gives one value, but begins with '{word[:40]}'"
    return _parsed_problem(query)


def _parsed_problem(query: str) -> str | None:
    # Imported here because it takes 0.3 s, and only checking a file needs it.
    import sqlglot
    from sqlglot import expressions
    from sqlglot.errors import SqlglotError

    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    try:
        statements = [found for found in sqlglot.parse(query, dialect="postgres") if found is not None]
    except (SqlglotError, RecursionError, ValueError):
        return None
    statements = [found for found in statements if not isinstance(found, expressions.Semicolon)]
    if len(statements) > 1:
        return f"holds {len(statements)} statements; write one SELECT that gives one value"
    if any(statement.find(expressions.Insert, expressions.Update, expressions.Delete) for statement in statements):
        return "changes data; a metric or check may only read"
    if any(statement.find(expressions.Into) for statement in statements):
        return "makes a table (SELECT INTO); a metric or check may only read"
    return None
