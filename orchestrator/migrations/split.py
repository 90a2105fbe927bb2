"""Exact splitting of a PostgreSQL script into statements: the pieces, joined, are the script."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from orchestrator.migrations.lexer import Kind, Token, next_token, significant


@dataclass(frozen=True, slots=True)
class Statement:
    """One piece of a script: blanks and comments before it, the statement, its semicolon, its COPY data.

    `start` and `end` are offsets (in characters, from 0) within the script.
    """

    text: str
    start: int
    end: int
    tokens: tuple[Token, ...] = field(default=(), repr=False, compare=False)
    """Of `sql`, with offsets within this piece."""
    copy_data: str | None = None
    """The lines below a COPY … FROM STDIN, without the `\\.` that ends them."""

    @property
    def sql(self) -> str:
        """The piece without its COPY data."""
        return self.text[: self.tokens[-1].end] if self.tokens else self.text

    @property
    def blank(self) -> bool:
        """Nothing but space, comments and a semicolon."""
        return all(token.is_blank or token.text == ";" for token in self.tokens)

    @property
    def keywords(self) -> tuple[str, ...]:
        """The upper-case words it starts with, up to the first token that is not an unquoted word."""
        words: list[str] = []
        for token in self.tokens:
            if token.is_blank:
                continue
            if token.kind is not Kind.WORD:
                break
            words.append(token.word)
        return tuple(words)


def split(sql: str) -> tuple[Statement, ...]:
    """The statements of a script as psql would send them, each with its surroundings; never raises.

    Blanks after the last statement make a last, blank piece. A psql command ends its piece with its line.
    """
    pieces: list[Statement] = []
    at = 0
    while at < len(sql):
        piece = _piece(sql, at)
        pieces.append(piece)
        at = piece.end
    return tuple(pieces)


def _piece(sql: str, start: int) -> Statement:
    scan = _Scan()
    at = start
    while at < len(sql):
        token = next_token(sql, at)
        scan.take(Token(token.kind, token.text, token.start - start, token.closed))
        at = token.end
        if scan.ended:
            break
    data, end = _copy_data(sql, at) if scan.ended and _reads_stdin(scan.tokens) else (None, at)
    return Statement(sql[start:end], start, end, tuple(scan.tokens), data)


class _Scan:
    """Follows parentheses and SQL-standard bodies (BEGIN ATOMIC … END) to the statement's own semicolon."""

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.ended = False
        self._parentheses = 0
        self._body = 0
        self._last: Token | None = None
        self._before_last = ""
        self._routine: bool | None = None
        self._head: list[str] = []

    def take(self, token: Token) -> None:
        self.tokens.append(token)
        if token.is_blank:
            return
        if token.kind is Kind.META:
            self.ended = True
        elif token.text == "(":
            self._parentheses += 1
        elif token.text == ")":
            self._parentheses = max(0, self._parentheses - 1)
        elif token.text == ";":
            self.ended = self._parentheses == 0 and self._body == 0
        elif token.kind is Kind.WORD:
            self._take_word(token.word)
        self._before_last = self._last.word if self._last else ""
        self._last = token

    def _take_word(self, word: str) -> None:
        if len(self._head) < 4:
            self._head.append(word)
        if self._parentheses or not self._is_routine():
            return
        last = self._last
        if self._body == 0:
            if word == "ATOMIC" and last is not None and last.word == "BEGIN":
                self._body = 1
        elif word in ("CASE", "END") and not (last is not None and (last.text == "." or last.word == "AS")):
            self._body += 1 if word == "CASE" else -1

    def _is_routine(self) -> bool:
        head = [word for word in self._head if word not in ("OR", "REPLACE")]
        return head[:1] == ["CREATE"] and head[1:2] in (["FUNCTION"], ["PROCEDURE"])


def _reads_stdin(tokens: list[Token]) -> bool:
    if next((token.word for token in tokens if not token.is_blank), "") != "COPY":
        return False
    words = [token.word for token in significant(tokens)]
    return ("FROM", "STDIN") in pairwise(words)


def _copy_data(sql: str, at: int) -> tuple[str | None, int]:
    """The data block that starts on the line after the offset, and where it ends; none on the same line."""
    newline = sql.find("\n", at)
    if newline < 0 or sql[at:newline].strip():
        return None, at
    line = first = newline + 1
    while line < len(sql):
        stop = sql.find("\n", line)
        stop = len(sql) if stop < 0 else stop + 1
        if sql[line:stop].rstrip("\r\n") == "\\.":
            return sql[first:line], stop
        line = stop
    return sql[first:], len(sql)
