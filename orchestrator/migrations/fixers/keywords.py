"""A misspelt keyword at the place of a syntax error, or right before it."""

from __future__ import annotations

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.scope import names_at_failure
from orchestrator.migrations.fixers.similar import the_one
from orchestrator.migrations.fixers.text import at_error, failing_tokens, replace_token, rewrite
from orchestrator.migrations.lexer import Token

# Without the words that destroy: those are never guessed.
_TEXT = """
ALTER COLUMN COMMENT CONSTRAINT CREATE DEFAULT DISTINCT EXISTS FOREIGN FROM FUNCTION GENERATED GROUP HAVING INDEX
INNER INSERT INTO JOIN LANGUAGE LEFT LIMIT NOT NULL OFFSET ORDER OUTER PRIMARY REFERENCES RENAME REPLACE RETURNING
RETURNS RIGHT SELECT SEQUENCE TABLE TRIGGER UNION UNIQUE UPDATE USING VALUES VIEW WHERE
"""
_KEYWORDS = frozenset(_TEXT.split())


def repair(context: FixContext) -> Fix | None:
    if context.error.sqlstate != "42601":
        return None
    tokens = failing_tokens(context)
    at = at_error(context, tokens)
    if at is None:
        return None
    names = names_at_failure(context)
    known = {table.name for table in names.tables} | {c.name for table in names.tables for c in table.columns}
    # The server stops at the misspelt word, or at the one after it.
    for token in (tokens[at], *tokens[max(0, at - 1) : at]):
        right = _keyword(token, known)
        if right is not None:
            note = f"{token.text} → {right}"
            return Fix(sql=rewrite(context.sql, [replace_token(token, right)]), note=note)
    return None


def _keyword(token: Token, known: set[str]) -> str | None:
    word = token.word
    if not word or word in _KEYWORDS or token.identifier in known:
        return None
    return the_one(word, _KEYWORDS)
