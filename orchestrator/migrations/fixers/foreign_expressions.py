"""The foreign rule's functions, literals and clauses."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.migrations.fixers.text import Edit, closing, elements, placed, replace_token, rewrite, text_of
from orchestrator.migrations.lexer import Kind, Token, lex, significant
from orchestrator.migrations.names import SchemaNames
from orchestrator.migrations.split import split

_RENAMED = {
    "IFNULL": "coalesce",
    "NVL": "coalesce",
    "LEN": "length",
    "LCASE": "lower",
    "UCASE": "upper",
    "RAND": "random",
    "FROM_UNIXTIME": "to_timestamp",
    "INSTR": "strpos",
}
_WHOLE_CALLS = {
    "GETDATE": "CURRENT_TIMESTAMP",
    "SYSDATETIME": "CURRENT_TIMESTAMP",
    "CURRENT_TIMESTAMP": "CURRENT_TIMESTAMP",
    "CURRENT_DATE": "CURRENT_DATE",
    "CURDATE": "CURRENT_DATE",
    "CURTIME": "CURRENT_TIME",
    "GETUTCDATE": "(now() AT TIME ZONE 'utc')",
    "UTC_TIMESTAMP": "(now() AT TIME ZONE 'utc')",
    "NEWID": "gen_random_uuid()",
    "NEWSEQUENTIALID": "gen_random_uuid()",
    "UUID": "gen_random_uuid()",
    "UUID_GENERATE_V4": "gen_random_uuid()",
    "LAST_INSERT_ID": "lastval()",
    "UNIX_TIMESTAMP": "extract(epoch FROM now())::bigint",
}
"""Calls without arguments."""

_OPERATORS = {"RLIKE": "~*", "REGEXP": "~*"}
_UNITS = frozenset(("SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "YEAR"))
_PASSES = 20


def rewrite_expressions(sql: str, schema: SchemaNames) -> str:
    """Calls one by one, from the left, until none is left; then literals and clauses."""
    for _ in range(_PASSES):
        tokens = significant(lex(sql))
        edit = next((e for i in range(len(tokens)) if (e := _call(sql, tokens, i, schema)) is not None), None)
        if edit is None:
            break
        sql = rewrite(sql, [edit])
    edits = _words(significant(lex(sql)))
    for piece in split(sql):
        edits += _clauses(placed(piece))
    return rewrite(sql, edits)


def _call(sql: str, tokens: tuple[Token, ...], i: int, schema: SchemaNames) -> Edit | None:
    name = tokens[i].word
    if not name or text_of(tokens, i + 1) != "(" or text_of(tokens, i - 1) == "." or name.lower() in schema.functions:
        return None
    end = closing(tokens, i + 1)
    if end is None:
        return None
    spans = [] if end == i + 2 else elements(tokens, i + 1, end)
    arguments = [sql[tokens[a].start : tokens[b - 1].end] for a, b in spans if b > a]
    new = _new_call(name, arguments)
    return Edit(tokens[i].start, tokens[end].end, new) if new is not None else None


def _new_call(name: str, arguments: list[str]) -> str | None:
    count = len(arguments)
    if name in _RENAMED and count:
        return f"{_RENAMED[name]}({', '.join(arguments)})"
    if name in _WHOLE_CALLS and count == 0:
        return _WHOLE_CALLS[name]
    lowered = [argument.lower() for argument in arguments]
    if name in ("DATETIME", "DATE") and lowered == ["'now'"]:
        return "CURRENT_TIMESTAMP" if name == "DATETIME" else "CURRENT_DATE"
    if name == "ISNULL" and count == 2:
        return f"coalesce({arguments[0]}, {arguments[1]})"
    if name in ("IF", "IIF") and count == 3:
        return f"CASE WHEN {arguments[0]} THEN {arguments[1]} ELSE {arguments[2]} END"
    if name in ("LOCATE", "CHARINDEX") and count == 2:
        return f"strpos({arguments[1]}, {arguments[0]})"
    if name in ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE") and count == 1 and not arguments[0].isdigit():
        return f"extract({name} FROM {arguments[0]})::integer"
    if name in ("DATE_ADD", "DATE_SUB") and count == 2 and lowered[1].startswith("interval"):
        return f"({arguments[0]} {'+' if name == 'DATE_ADD' else '-'} {arguments[1]})"
    if name == "DATEADD" and count == 3 and arguments[0].upper() in _UNITS:
        return f"({arguments[2]} + ({arguments[1]}) * INTERVAL '1 {lowered[0]}')"
    return None


def _words(tokens: tuple[Token, ...]) -> list[Edit]:
    """INTERVAL 1 DAY, SYSDATE, REGEXP, FROM DUAL, <=>."""
    edits: list[Edit] = []
    for i, token in enumerate(tokens):
        if token.word == "INTERVAL" and text_of(tokens, i + 2) in _UNITS and tokens[i + 1].kind is Kind.NUMBER:
            literal = f"'{tokens[i + 1].text} {tokens[i + 2].text.lower()}'"
            edits.append(Edit(tokens[i + 1].start, tokens[i + 2].end, literal))
        elif token.word in ("SYSDATE", "SYSTIMESTAMP") and text_of(tokens, i - 1) not in (".", "AS", "("):
            edits.append(replace_token(token, "CURRENT_TIMESTAMP"))
        elif token.word in _OPERATORS and text_of(tokens, i + 1) != "(":
            negated = text_of(tokens, i - 1) == "NOT"
            start = tokens[i - 1].start if negated else token.start
            edits.append(Edit(start, token.end, ("!" if negated else "") + _OPERATORS[token.word]))
        elif token.word == "FROM" and text_of(tokens, i + 1) == "DUAL":
            edits.append(Edit(token.start, tokens[i + 1].end, ""))
        elif token.text == "<=>":
            edits.append(replace_token(token, "IS NOT DISTINCT FROM"))
    return edits


def _clauses(tokens: tuple[Token, ...]) -> list[Edit]:
    """INSERT IGNORE, LIMIT a, b and TOP n."""
    if not tokens:
        return []
    edits: list[Edit] = []
    last = len(tokens) - (2 if tokens[-1].text == ";" else 1)
    ignore = _ignore(tokens)
    if ignore is not None:
        edits += (ignore, Edit(tokens[last].end, tokens[last].end, " ON CONFLICT DO NOTHING"))
    for i, token in enumerate(tokens):
        if token.word == "LIMIT" and text_of(tokens, i + 2) == "," and i + 3 < len(tokens):
            start, count = tokens[i + 1].text, tokens[i + 3].text
            edits.append(Edit(tokens[i + 1].start, tokens[i + 3].end, f"{count} OFFSET {start}"))
    top = [i for i, token in enumerate(tokens) if token.word == "TOP" and text_of(tokens, i - 1) == "SELECT"]
    selects = sum(token.word == "SELECT" for token in tokens)
    if len(top) == 1 and selects == 1:
        edits += _top(tokens, top[0], last)
    return edits


def _top(tokens: Sequence[Token], at: int, last: int) -> list[Edit]:
    number = at + 2 if text_of(tokens, at + 1) == "(" else at + 1
    end = number + 1 if text_of(tokens, at + 1) == "(" else number
    if tokens[number].kind is not Kind.NUMBER or text_of(tokens, end + 1) in ("PERCENT", "WITH"):
        return []
    place = tokens[last].end
    return [Edit(tokens[at].start, tokens[end + 1].start, ""), Edit(place, place, f" LIMIT {tokens[number].text}")]


def _ignore(tokens: Sequence[Token]) -> Edit | None:
    if text_of(tokens, 0) != "INSERT":
        return None
    if text_of(tokens, 1) == "IGNORE":
        return Edit(tokens[1].start, tokens[2].start, "")
    if (text_of(tokens, 1), text_of(tokens, 2)) == ("OR", "IGNORE"):
        return Edit(tokens[1].start, tokens[3].start, "")
    return None
