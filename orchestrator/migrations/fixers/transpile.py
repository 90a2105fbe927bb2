"""Functions whose translation is more than a name, left to sqlglot: DATE_FORMAT, GROUP_CONCAT, DECODE, LISTAGG."""

from __future__ import annotations

import re

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import Edit, placed, rewrite, text_of
from orchestrator.migrations.lexer import Kind, Token, lex

_DIALECTS = {
    "DATE_FORMAT": "mysql",
    "STR_TO_DATE": "mysql",
    "GROUP_CONCAT": "mysql",
    "DATEDIFF": "mysql",
    "LAST_DAY": "mysql",
    "STRFTIME": "sqlite",
    "DECODE": "oracle",
    "NVL2": "oracle",
    "LISTAGG": "oracle",
}
"""Only what sqlglot translates without changing the meaning; the table test holds it to that."""

_VERBS = frozenset(("INSERT", "UPDATE", "SELECT", "WITH", "CREATE"))
_PERCENT = re.compile(r"%[A-Za-z]")


def repair(context: FixContext) -> Fix | None:
    failing = context.failing()
    if context.error.sqlstate not in ("42883", "42601", "42703") or failing is None:
        return None
    tokens = placed(failing)
    found = {tokens[i].word for i in range(len(tokens)) if _is_call(tokens, i)}
    dialects = {_DIALECTS[name] for name in found}
    names = {name.lower() for name in context.schema.functions}
    if len(dialects) != 1 or text_of(tokens, 0) not in _VERBS or any(name.lower() in names for name in found):
        return None
    end = tokens[-2].end if tokens[-1].text == ";" else tokens[-1].end
    new = _translated(context.sql[tokens[0].start : end], dialects.pop())
    if new is None or any(re.search(rf"\b{name}\s*\(", new, re.IGNORECASE) for name in found):
        return None
    edited = rewrite(context.sql, [Edit(tokens[0].start, end, new)])
    return Fix(sql=edited, note=f"translated {', '.join(sorted(found)).lower()}")


def _is_call(tokens: tuple[Token, ...], i: int) -> bool:
    if tokens[i].word not in _DIALECTS or text_of(tokens, i + 1) != "(" or text_of(tokens, i - 1) == ".":
        return False
    # SQL Server's DATEDIFF has three arguments and counts differently; Postgres has a decode() of two.
    commas = _commas(tokens, i + 1)
    return commas == 1 if tokens[i].word == "DATEDIFF" else commas >= 2 if tokens[i].word == "DECODE" else True


def _commas(tokens: tuple[Token, ...], opening: int) -> int:
    depth = count = 0
    for token in tokens[opening:]:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        count += depth == 1 and token.text == ","
        if depth == 0:
            break
    return count


def _translated(sql: str, dialect: str) -> str | None:
    import sqlglot  # half a second to import, and only this rule needs it
    from sqlglot.errors import ErrorLevel, SqlglotError

    try:
        parts = sqlglot.transpile(sql, read=dialect, write="postgres", unsupported_level=ErrorLevel.RAISE)
    except (SqlglotError, RecursionError):
        return None
    if len(parts) != 1 or _left_over(parts[0]):
        return None
    return str(parts[0])


def _left_over(sql: str) -> bool:
    """A format that was not translated whole still holds a percent sign and a letter."""
    return any(token.kind is Kind.STRING and _PERCENT.search(token.text) for token in lex(sql))
