"""The foreign rule's first pass: quoting, comments, and commands that mean nothing to PostgreSQL."""

from __future__ import annotations

import re

from orchestrator.migrations.fixers.text import RESERVED, Edit, quote_name, replace_token, rewrite
from orchestrator.migrations.lexer import Dialect, Kind, Token, lex
from orchestrator.migrations.names import SchemaNames
from orchestrator.migrations.split import split

_BACKTICK = re.compile(r"`[A-Za-z_][^`\n]*`")
_HASH_COMMENT = re.compile(r"^[ \t]*#(?![>-])|;[ \t]*#", re.MULTILINE)
_BRACKET = re.compile(r"(?:^|[\s.(,])\[[A-Za-z_][\w ]*\]", re.MULTILINE)
_LONE_LINES = re.compile(r"^[ \t]*(?:GO|/)[ \t]*;?[ \t]*\r?$\n?", re.MULTILINE | re.IGNORECASE)
_MEANINGLESS = (
    ("USE",),
    ("PRAGMA",),
    ("SET", "NAMES"),
    ("SET", "FOREIGN_KEY_CHECKS"),
    ("SET", "UNIQUE_CHECKS"),
    ("SET", "SQL_MODE"),
    ("SET", "IDENTITY_INSERT"),
    ("SET", "ANSI_NULLS"),
    ("SET", "QUOTED_IDENTIFIER"),
    ("LOCK", "TABLES"),
    ("UNLOCK", "TABLES"),
)


def rewrite_quotes(sql: str, schema: SchemaNames) -> str:
    """Names in backticks and brackets, `#` comments, the schema dbo, GO lines, USE, PRAGMA and SET NAMES."""
    dialect = Dialect(
        backticks=bool(_BACKTICK.search(sql)),
        brackets=bool(_BRACKET.search(sql)),
        hash_comments=bool(_HASH_COMMENT.search(sql)),
    )
    text = rewrite(sql, (edit for token in lex(sql, dialect) for edit in _token_edits(token, schema)))
    text = _without_dbo(text, schema)
    text = _drop_lone_lines(text)
    return "".join(piece.text for piece in split(text) if not _is_meaningless(piece.keywords))


def _token_edits(token: Token, schema: SchemaNames) -> list[Edit]:
    if token.kind is Kind.COMMENT and token.text.startswith("#"):
        return [Edit(token.start, token.start + 1, "--")]
    if token.kind is Kind.NAME and token.text[0] in "`[":
        return [replace_token(token, _folded(token.identifier, schema))]
    return []


def _folded(name: str, schema: SchemaNames) -> str:
    """As an unquoted name would be read, so that quoted and unquoted uses agree; a name that exists stays."""
    known = {table.name for table in schema.tables} | {c.name for table in schema.tables for c in table.columns}
    if name in known:
        return quote_name(name)
    regular = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None
    return name if regular and name.upper() not in RESERVED else quote_name(name.lower())


def _without_dbo(sql: str, schema: SchemaNames) -> str:
    if "dbo" in schema.schemas:
        return sql
    tokens = [token for token in lex(sql) if not token.is_blank]
    edits = [
        Edit(token.start, tokens[i + 2].start, "")
        for i, token in enumerate(tokens[:-2])
        if token.identifier == "dbo" and tokens[i + 1].text == "."
    ]
    return rewrite(sql, edits)


def _drop_lone_lines(sql: str) -> str:
    """GO (SQL Server) and / (Oracle) end a batch; each becomes a semicolon where none stands before it."""
    parts: list[str] = []
    at = 0
    for match in _LONE_LINES.finditer(sql):
        before = sql[at : match.start()]
        whole = ("".join(parts) + before).rstrip()
        ended = not whole or whole.endswith(";")
        parts += (before, "" if ended else ";\n")
        at = match.end()
    return "".join((*parts, sql[at:]))


def _is_meaningless(keywords: tuple[str, ...]) -> bool:
    return any(keywords[: len(phrase)] == phrase for phrase in _MEANINGLESS)
