"""Editing SQL by its tokens: what a rule does not touch stays byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.migrations.fixers.base import FixContext
from orchestrator.migrations.lexer import POSTGRES, Dialect, Kind, Token, lex, significant
from orchestrator.migrations.split import Statement


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the characters from start to end (offsets from 0) by text."""

    start: int
    end: int
    text: str


def rewrite(sql: str, edits: Iterable[Edit]) -> str:
    """The text with all edits made; edits must not overlap."""
    parts: list[str] = []
    at = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        parts += (sql[at : edit.start], edit.text)
        at = edit.end
    return "".join((*parts, sql[at:]))


def replace_token(token: Token, text: str) -> Edit:
    return Edit(token.start, token.end, text)


def words(sql: str, dialect: Dialect = POSTGRES) -> tuple[Token, ...]:
    """The significant tokens of a text."""
    return significant(lex(sql, dialect))


def placed(statement: Statement) -> tuple[Token, ...]:
    """The significant tokens of a statement, with offsets within the whole text."""
    return tuple(token._replace(start=token.start + statement.start) for token in significant(statement.tokens))


def failing_tokens(context: FixContext) -> tuple[Token, ...]:
    """The failing statement's tokens, placed; () where there is none."""
    statement = context.failing()
    return placed(statement) if statement is not None else ()


def at_error(context: FixContext, tokens: Sequence[Token]) -> int | None:
    """The index of the token that the error points at (the token that holds the position)."""
    if context.error.position is None:
        return None
    offset = context.error.position - 1
    return next((i for i, token in enumerate(tokens) if token.start <= offset < token.end), None)


def is_name(token: Token) -> bool:
    return token.kind in (Kind.WORD, Kind.NAME)


def text_of(tokens: Sequence[Token], index: int) -> str:
    """The upper-case text of a token, "" outside of the sequence: for looking around without care for the ends."""
    return tokens[index].text.upper() if 0 <= index < len(tokens) else ""


def closing(tokens: Sequence[Token], opening: int) -> int | None:
    """The index of the parenthesis that closes the one at `opening`."""
    depth = 0
    for i in range(opening, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[i].text, 0)
        if depth == 0:
            return i
    return None


def elements(tokens: Sequence[Token], opening: int, end: int) -> list[tuple[int, int]]:
    """The comma-separated elements between two indexes (exclusive), as pairs of indexes [first, last + 1)."""
    found: list[tuple[int, int]] = []
    depth, first = 0, opening + 1
    for i in range(opening + 1, end):
        depth += {"(": 1, ")": -1}.get(tokens[i].text, 0)
        if depth == 0 and tokens[i].text == ",":
            found.append((first, i))
            first = i + 1
    return [*found, (first, end)]


def quote_name(name: str) -> str:
    """The name as SQL: bare where that means the same, quoted otherwise."""
    bare = name.isascii() and name.replace("_", "a").isalnum() and name == name.lower() and not name[0].isdigit()
    return name if bare and name.upper() not in RESERVED else '"' + name.replace('"', '""') + '"'


_RESERVED_TEXT = """
    ALL ANALYSE ANALYZE AND ANY ARRAY AS ASC ASYMMETRIC AUTHORIZATION BINARY BOTH CASE CAST CHECK COLLATE
    COLLATION COLUMN CONCURRENTLY CONSTRAINT CREATE CROSS CURRENT_CATALOG CURRENT_DATE CURRENT_ROLE
    CURRENT_SCHEMA CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER DEFAULT DEFERRABLE DESC DISTINCT DO ELSE END
    EXCEPT FALSE FETCH FOR FOREIGN FREEZE FROM FULL GRANT GROUP HAVING ILIKE IN INITIALLY INNER INTERSECT INTO
    IS ISNULL JOIN LATERAL LEADING LEFT LIKE LIMIT LOCALTIME LOCALTIMESTAMP NATURAL NOT NOTNULL NULL OFFSET ON
    ONLY OR ORDER OUTER OVERLAPS PLACING PRIMARY REFERENCES RETURNING RIGHT SELECT SESSION_USER SIMILAR SOME
    SYMMETRIC SYSTEM_USER TABLE TABLESAMPLE THEN TO TRAILING TRUE UNION UNIQUE USER USING VARIADIC VERBOSE WHEN
    WHERE WINDOW WITH
    """
RESERVED = frozenset(_RESERVED_TEXT.split())
"""PostgreSQL 18's reserved words (those that may name functions or types included)."""

_VERBS_TEXT = """
    ABORT ALTER ANALYZE BEGIN CALL CHECKPOINT CLOSE CLUSTER COMMENT COMMIT COPY CREATE DEALLOCATE DECLARE DELETE
    DISCARD DO DROP END EXECUTE EXPLAIN FETCH GRANT IMPORT INSERT LISTEN LOAD LOCK MERGE MOVE NOTIFY PREPARE
    REASSIGN REFRESH REINDEX RELEASE RESET REVOKE ROLLBACK SAVEPOINT SECURITY SELECT SET SHOW START TABLE TRUNCATE
    UNLISTEN UPDATE VACUUM VALUES WITH
    """
VERBS = frozenset(_VERBS_TEXT.split())
"""What a PostgreSQL statement can start with."""
