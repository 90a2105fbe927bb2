"""Statements in the wrong order: what uses a thing comes before what makes it, or drops it before its dependents."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import is_name, text_of, words
from orchestrator.migrations.fixers.undefined import read_undefined
from orchestrator.migrations.split import Statement

_MAKERS = frozenset(("TABLE", "VIEW", "TYPE", "DOMAIN", "FUNCTION", "PROCEDURE", "SEQUENCE", "SCHEMA"))
_NOISE = frozenset(
    ("OR", "REPLACE", "TEMP", "TEMPORARY", "UNLOGGED", "MATERIALIZED", "RECURSIVE", "IF", "NOT", "EXISTS")
)
_DEPENDENT = re.compile(
    r"^(?:materialized )?(?:view|table|function|trigger|constraint|column) (?P<name>\S+)", re.MULTILINE
)


def repair(context: FixContext) -> Fix | None:
    pieces = list(context.statements())
    failing = context.failing()
    if failing is None:
        return None
    at = next(i for i, piece in enumerate(pieces) if piece.start == failing.start)
    if context.error.sqlstate == "2BP01":
        return _drop_later(context, pieces, at)
    missing = read_undefined(context.error)
    if missing is None:
        return None
    if missing.what == "column":
        return _column_first(pieces, at, missing.name, missing.table)
    maker = _maker(pieces, at, missing.name)
    if maker is None:
        return None
    order = _with_needs(pieces, at, maker)
    moved = [*range(at), *order, *(i for i in range(at, len(pieces)) if i not in order)]
    return Fix(sql=_joined(pieces, moved), note=f"moved the statement that makes {missing.name} before its use")


def made(piece: Statement) -> str:
    """The name of what a CREATE statement makes (without schema), "" for others."""
    tokens = words(piece.sql)
    if text_of(tokens, 0) != "CREATE":
        return ""
    at = 1
    while text_of(tokens, at) in _NOISE:
        at += 1
    if text_of(tokens, at) not in _MAKERS:
        return ""
    at += 1
    while text_of(tokens, at) in _NOISE:
        at += 1
    while text_of(tokens, at + 1) == ".":
        at += 2
    return tokens[at].identifier if at < len(tokens) else ""


def _maker(pieces: Sequence[Statement], after: int, name: str) -> int | None:
    """The one later statement that makes the name."""
    found = [i for i in range(after + 1, len(pieces)) if made(pieces[i]) == name]
    return found[0] if len(found) == 1 else None


def _with_needs(pieces: Sequence[Statement], at: int, maker: int) -> list[int]:
    """The maker, and before it the makers of what it uses itself that come after the failing statement."""
    order: list[int] = []

    def place(index: int, path: frozenset[int]) -> None:
        if index in order or index in path:
            return
        used = {token.identifier for token in words(pieces[index].sql) if is_name(token)}
        for other in range(at + 1, len(pieces)):
            if other != index and made(pieces[other]) in used - {""}:
                place(other, path | {index})
        order.append(index)

    place(maker, frozenset())
    return order


def _column_first(pieces: Sequence[Statement], at: int, column: str, table: str | None) -> Fix | None:
    """An ALTER TABLE … ADD of the missing column that stands later."""
    mentioned = {token.identifier for token in words(pieces[at].sql) if is_name(token)}
    found = [i for i in range(at + 1, len(pieces)) if _adds(pieces[i], column, mentioned if table is None else {table})]
    if len(found) != 1:
        return None
    moved = [*range(at), found[0], *(i for i in range(at, len(pieces)) if i != found[0])]
    return Fix(sql=_joined(pieces, moved), note=f"moved the statement that adds {column} before its use")


def _adds(piece: Statement, column: str, tables: set[str]) -> bool:
    tokens = words(piece.sql)
    if piece.keywords[:2] != ("ALTER", "TABLE") or not any(token.identifier in tables for token in tokens[2:8]):
        return False
    return any(
        token.identifier == column
        and text_of(tokens, i - 1) in ("ADD", "COLUMN", "EXISTS")
        and "ADD" in (text_of(tokens, i - 1), text_of(tokens, i - 2), text_of(tokens, i - 5))
        for i, token in enumerate(tokens)
    )


def _drop_later(context: FixContext, pieces: Sequence[Statement], at: int) -> Fix | None:
    """Move a DROP behind the later DROPs of everything that depends on it, as the server lists it."""
    wanted = {match["name"].rsplit(".", 1)[-1].strip('"') for match in _DEPENDENT.finditer(context.error.detail or "")}
    last = at
    for name in wanted:
        found = [
            i
            for i in range(at + 1, len(pieces))
            if "DROP" in pieces[i].keywords + tuple(t.word for t in words(pieces[i].sql))
            and any(token.identifier == name for token in words(pieces[i].sql))
        ]
        if not found:
            return None
        last = max(last, *found)
    if last == at:
        return None
    moved = [*(i for i in range(last + 1) if i != at), at, *range(last + 1, len(pieces))]
    return Fix(sql=_joined(pieces, moved), note="moved the DROP behind those of its dependents")


def _joined(pieces: Sequence[Statement], order: Sequence[int]) -> str:
    """The pieces in the new order; the last of the old text may lack its semicolon or its newline."""
    parts: list[str] = []
    for position, index in enumerate(order):
        text = pieces[index].text
        ended = pieces[index].blank or text.rstrip().endswith(";") or pieces[index].copy_data is not None
        if position < len(order) - 1 and not ended:
            text = text.rstrip() + ";\n"
        parts.append(text if position == 0 or text[:1].isspace() or parts[-1].endswith("\n") else "\n" + text)
    return "".join(parts)
