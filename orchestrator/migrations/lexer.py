"""PostgreSQL's lexical rules: text to tokens, without loss.

A parser loses what it does not know; the tokens of a text, joined, are always the text again. Splitting, the
guard and most fixers work on tokens. The rules are those of the server's scanner with
`standard_conforming_strings = on` (the default, and pinned while a migration runs).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    SPACE = "space"
    COMMENT = "comment"
    WORD = "word"
    """A keyword or an unquoted name."""
    NAME = "name"
    """A quoted name: "…", U&"…" (and `…` or […] where a foreign dialect is read)."""
    STRING = "string"
    """'…' with any prefix (E, B, X, N, U&)."""
    DOLLAR = "dollar"
    """$tag$…$tag$."""
    NUMBER = "number"
    PARAMETER = "parameter"
    OPERATOR = "operator"
    PUNCTUATION = "punctuation"
    """One of ( ) [ ] , ; . : and ::."""
    META = "meta"
    """A backslash outside of quotes and the rest of its line: a psql command."""


class Token(NamedTuple):
    """A named tuple, not a dataclass: a large script makes hundreds of thousands of them."""

    kind: Kind
    text: str
    start: int
    closed: bool = True
    """False where the text ends inside of the quote or comment."""

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def word(self) -> str:
        """The upper-case keyword, or "" for what is not an unquoted word."""
        return self.text.upper() if self.kind is Kind.WORD else ""

    @property
    def identifier(self) -> str:
        """The name as the server would fold it, or "" for what cannot be a name."""
        if self.kind is Kind.WORD:
            return "".join(c.lower() if c.isascii() else c for c in self.text)
        if self.kind is Kind.NAME:
            quote = self.text[-1] if self.closed else ""
            body = self.text[self.text.index(_OPENING.get(quote, '"')) + 1 : -1 if quote else None]
            return body.replace(quote * 2, quote) if quote else body
        return ""

    @property
    def is_blank(self) -> bool:
        return self.kind in (Kind.SPACE, Kind.COMMENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What other databases' lexical rules allow besides; the default is PostgreSQL."""

    backticks: bool = False
    brackets: bool = False
    hash_comments: bool = False
    backslash_escapes: bool = False


POSTGRES = Dialect()

_OPENING = {'"': '"', "`": "`", "]": "["}
_SPACE = re.compile(r"[ \t\n\r\f\v]+")
_LINE = re.compile(r"[^\r\n]*")
_WORD = re.compile(r"[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*")
_NUMBER = re.compile(
    r"0[xX][0-9A-Fa-f_]+|0[oO][0-7_]+|0[bB][01_]+"
    r"|(?:[0-9][0-9_]*(?:\.(?!\.)[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?"
)
_PARAMETER = re.compile(r"\$[0-9]+")
_DOLLAR_TAG = re.compile(r"\$(?:[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*)?\$")
_OPERATOR = re.compile(r"[~!@#^&|`?+\-*/%<>=]+")
_STRING_PREFIX = re.compile(r"(?:[eEbBxXnN]|[uU]&)?'")
_NAME_PREFIX = re.compile(r'(?:[uU]&)?"')
# Possessive, so that a literal of megabytes costs no memory for backtracking.
_PLAIN_BODY = re.compile(r"[^']*+(?:''[^']*+)*+")
_ESCAPE_BODY = re.compile(r"[^'\\]*+(?:(?:''|\\.)[^'\\]*+)*+", re.DOTALL)
_NAME_BODY = re.compile(r'[^"]*+(?:""[^"]*+)*+')
_BACKTICK_NAME = re.compile(r"`((?:[^`]|``)*)`")
_BRACKET_NAME = re.compile(r"\[([A-Za-z_][A-Za-z0-9_ $-]*)\]")
_COMMENT_MARK = re.compile(r"/\*|\*/")
# The second part of an E'' string on a later line obeys the same escapes.
_CONTINUATION = re.compile(r"(?:[ \t\f\v]|--[^\r\n]*)*[\r\n](?:[ \t\n\r\f\v]|--[^\r\n]*[\r\n])*'")


# Nine tokens in ten are one of these; all others take the way through next_token's cases.
_PLAIN = re.compile(
    r"(?P<space>[ \t\n\r\f\v]+)"
    r"|(?P<word>(?![eEbBxXnN]'|[uU]&['\"])[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*+)"
    r"|(?P<punctuation>[(),;])"
    r"|(?P<string>'[^']*+(?:''[^']*+)*+')"
    r"|(?P<number>[0-9]++(?![0-9A-Za-z_.]))"
)
_PLAIN_KINDS = {name: Kind(name) for name in _PLAIN.groupindex}


def lex(sql: str, dialect: Dialect = POSTGRES) -> tuple[Token, ...]:
    """All tokens of the text, in order; joined they are the text."""
    return tuple(_tokens(sql, dialect))


def significant(tokens: Iterable[Token]) -> tuple[Token, ...]:
    """The tokens that are neither space nor comment."""
    return tuple(token for token in tokens if not token.is_blank)


def next_token(sql: str, at: int, dialect: Dialect = POSTGRES) -> Token:
    """The token that starts at the offset, which must lie between two tokens."""
    plain = _PLAIN.match(sql, at) if dialect is POSTGRES else None
    if plain is not None:
        return Token(_PLAIN_KINDS[str(plain.lastgroup)], plain[0], at)
    for scan in (_blank, _quoted, _word_or_number):
        found = scan(sql, at, dialect)
        if found is not None:
            return found
    if sql[at] == "\\":
        return Token(Kind.META, _must(_LINE, sql, at), at)
    if sql.startswith("::", at):
        return Token(Kind.PUNCTUATION, "::", at)
    operator = _OPERATOR.match(sql, at)
    if operator is None:
        return Token(Kind.PUNCTUATION, sql[at], at)
    return Token(Kind.OPERATOR, _cut_operator(operator[0], dialect), at)


def _tokens(sql: str, dialect: Dialect) -> Iterator[Token]:
    at = 0
    while at < len(sql):
        token = next_token(sql, at, dialect)
        yield token
        at = token.end


def _must(pattern: re.Pattern[str], sql: str, at: int) -> str:
    match = pattern.match(sql, at)
    return match[0] if match else ""


def _blank(sql: str, at: int, dialect: Dialect) -> Token | None:
    space = _SPACE.match(sql, at)
    if space:
        return Token(Kind.SPACE, space[0], at)
    if sql.startswith("--", at) or (dialect.hash_comments and sql[at] == "#"):
        return Token(Kind.COMMENT, _must(_LINE, sql, at), at)
    if sql.startswith("/*", at):
        return _block_comment(sql, at)
    return None


def _block_comment(sql: str, at: int) -> Token:
    depth = 0
    for mark in _COMMENT_MARK.finditer(sql, at):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return Token(Kind.COMMENT, sql[at : mark.end()], at)
    return Token(Kind.COMMENT, sql[at:], at, closed=False)


def _quoted(sql: str, at: int, dialect: Dialect) -> Token | None:
    string = _STRING_PREFIX.match(sql, at)
    if string:
        return _string(sql, at, string, dialect)
    name = _NAME_PREFIX.match(sql, at)
    if name:
        return _closed(Kind.NAME, sql, at, len(_must(_NAME_BODY, sql, name.end())) + name.end(), '"')
    tag = _DOLLAR_TAG.match(sql, at)
    if tag:
        close = sql.find(tag[0], tag.end())
        if close < 0:
            return Token(Kind.DOLLAR, sql[at:], at, closed=False)
        return Token(Kind.DOLLAR, sql[at : close + len(tag[0])], at)
    foreign = dialect.backticks and _BACKTICK_NAME.match(sql, at)
    foreign = foreign or (dialect.brackets and not _is_subscript(sql, at) and _BRACKET_NAME.match(sql, at))
    return Token(Kind.NAME, foreign[0], at) if foreign else None


def _is_subscript(sql: str, at: int) -> bool:
    return at > 0 and (sql[at - 1].isalnum() or sql[at - 1] in '_)]"')


def _string(sql: str, at: int, opening: re.Match[str], dialect: Dialect) -> Token:
    escapes = opening[0][0] in "eE" or dialect.backslash_escapes
    body = _ESCAPE_BODY if escapes else _PLAIN_BODY
    end = len(_must(body, sql, opening.end())) + opening.end()
    while escapes and end < len(sql):
        more = _CONTINUATION.match(sql, end + 1)
        if more is None:
            break
        end = len(_must(body, sql, more.end())) + more.end()
    return _closed(Kind.STRING, sql, at, end, "'")


def _closed(kind: Kind, sql: str, at: int, end: int, quote: str) -> Token:
    if sql.startswith(quote, end):
        return Token(kind, sql[at : end + 1], at)
    return Token(kind, sql[at:], at, closed=False)


def _word_or_number(sql: str, at: int, _: Dialect) -> Token | None:
    for kind, pattern in ((Kind.WORD, _WORD), (Kind.PARAMETER, _PARAMETER), (Kind.NUMBER, _NUMBER)):
        match = pattern.match(sql, at)
        if match:
            return Token(kind, match[0], at)
    return None


def _cut_operator(text: str, dialect: Dialect) -> str:
    """An operator ends where a comment (or a foreign quote) begins."""
    marks = ["--", "/*"]
    if dialect.hash_comments:
        marks.append("#")
    if dialect.backticks:
        marks.append("`")
    cuts = [text.find(mark) for mark in marks]
    cut = min((c for c in cuts if c > 0), default=len(text))
    return text[:cut]
