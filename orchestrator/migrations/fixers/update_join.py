"""MySQL's UPDATE a JOIN b ON … SET a.x = … WHERE …: the join moves to FROM, its condition to WHERE."""

from __future__ import annotations

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import Edit, failing_tokens, rewrite, text_of
from orchestrator.migrations.lexer import Token


def repair(context: FixContext) -> Fix | None:
    """One inner join only; an outer join would change other rows than FROM does."""
    tokens = failing_tokens(context)
    words = [token.word for token in tokens]
    if context.error.sqlstate != "42601" or words[:1] != ["UPDATE"] or words.count("JOIN") != 1:
        return None
    join, on = words.index("JOIN"), words.index("ON") if "ON" in words else -1
    set_at = words.index("SET") if "SET" in words else -1
    if not 0 < join < on < set_at or text_of(tokens, join - 1) in (
        "LEFT",
        "RIGHT",
        "FULL",
        "CROSS",
        "OUTER",
        "NATURAL",
    ):
        return None
    inner = join - 1 if text_of(tokens, join - 1) == "INNER" else join
    where = next((i for i in range(set_at, len(tokens)) if tokens[i].word == "WHERE"), None)
    if any(words[i] in ("ORDER", "LIMIT", "SELECT") for i in range(set_at, len(tokens))):
        return None
    last = len(tokens) - (2 if tokens[-1].text == ";" else 1)
    target = {token.identifier for token in tokens[1:inner]}
    sets_end = where if where is not None else last + 1
    edits = [*_bare_targets(tokens, set_at, sets_end, target)]
    if len(edits) != _assignments(tokens, set_at, sets_end):
        return None
    sql = context.sql
    joined = sql[tokens[join + 1].start : tokens[on - 1].end]
    condition = sql[tokens[on + 1].start : tokens[set_at - 1].end]
    place = tokens[sets_end - 1].end
    edits.append(Edit(tokens[inner].start, tokens[set_at].start, ""))
    if where is None:
        edits.append(Edit(place, place, f" FROM {joined} WHERE {condition}"))
    else:
        rest = sql[tokens[where + 1].start : tokens[last].end]
        edits.append(Edit(place, tokens[last].end, f" FROM {joined} WHERE ({condition}) AND ({rest})"))
    return Fix(sql=rewrite(sql, edits), note="moved the joined table of UPDATE to FROM")


def _bare_targets(tokens: tuple[Token, ...], set_at: int, end: int, target: set[str]) -> list[Edit]:
    """`a.x =` without its `a.`, where a is the table that is updated; an empty edit where it is bare already."""
    edits: list[Edit] = []
    for i in _targets(tokens, set_at, end):
        if text_of(tokens, i + 1) == "." and tokens[i].identifier in target:
            edits.append(Edit(tokens[i].start, tokens[i + 2].start, ""))
        elif text_of(tokens, i + 1) == "=":
            edits.append(Edit(tokens[i].start, tokens[i].start, ""))
    return edits


def _assignments(tokens: tuple[Token, ...], set_at: int, end: int) -> int:
    return len(_targets(tokens, set_at, end))


def _targets(tokens: tuple[Token, ...], set_at: int, end: int) -> list[int]:
    found, depth = [set_at + 1], 0
    for i in range(set_at + 1, end):
        depth += {"(": 1, ")": -1}.get(tokens[i].text, 0)
        if depth == 0 and tokens[i].text == ",":
            found.append(i + 1)
    return found
