"""From a migration's text to the statements that one transaction can run, or a refusal in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.migrations.lexer import Kind
from orchestrator.migrations.records import SqlError
from orchestrator.migrations.split import Statement, split

_CLOSERS = ("COMMIT", "END")
_NEVER_IN_A_TRANSACTION = (
    ("VACUUM",),
    ("ALTER", "SYSTEM"),
    ("CREATE", "DATABASE"),
    ("DROP", "DATABASE"),
    ("CREATE", "TABLESPACE"),
    ("DROP", "TABLESPACE"),
)


class Refused(Exception):
    """The script cannot be run as it is; carries the SqlError that says why."""

    def __init__(self, error: SqlError) -> None:
        self.error = error
        super().__init__(error.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """A statement to run and its number (from 1) among the text's statements that are not blank."""

    number: int
    statement: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    statements: tuple[Numbered, ...]
    notes: tuple[str, ...]


def read_script(sql: str) -> Script:
    """The statements to run, in order. BEGIN … COMMIT pairs are left out (one transaction holds them all anyway).

    Raises Refused for what no migration may hold: psql commands, ROLLBACK, an unmatched BEGIN or COMMIT,
    statements that no transaction can hold, a COPY to or from the client without data, NUL characters.
    """
    _check_characters(sql)
    pieces = [piece for piece in split(sql) if not piece.blank]
    numbered = [Numbered(number=n, statement=piece) for n, piece in enumerate(pieces, 1)]
    for item in numbered:
        _check_statement(sql, item)
    kept = _without_transactions(sql, numbered)
    notes = ("Ran without its own BEGIN and COMMIT: a migration is one transaction.",)
    return Script(statements=tuple(kept), notes=notes if len(kept) < len(numbered) else ())


def line_of(sql: str, offset: int) -> int:
    """The line (from 1) of an offset (from 0)."""
    return sql.count("\n", 0, offset) + 1


def first_word_offset(statement: Statement) -> int:
    """Where the statement itself starts within the script, after its leading space and comments."""
    return statement.start + next((token.start for token in statement.tokens if not token.is_blank), 0)


def _check_characters(sql: str) -> None:
    if "\0" in sql:
        at = sql.index("\0")
        raise Refused(SqlError(sqlstate=None, message=f"NUL character on line {line_of(sql, at)}.", position=at + 1))
    try:
        sql.encode()
    except UnicodeEncodeError as exc:
        message = f"Half of a Unicode surrogate pair on line {line_of(sql, exc.start)}: it has no UTF-8 form."
        raise Refused(SqlError(sqlstate=None, message=message, position=exc.start + 1)) from exc


def _check_statement(sql: str, item: Numbered) -> None:
    statement = item.statement
    meta = statement.tokens[-1]  # a psql command ends its piece
    if meta.kind is Kind.META:
        offset = statement.start + meta.start
        command = meta.text.split()[0]
        raise _refusal(
            sql, item, offset, f"{command} is a psql command, not SQL: write what it does as SQL, or remove it"
        )
    words = statement.keywords
    for phrase in _NEVER_IN_A_TRANSACTION:
        if words[: len(phrase)] == phrase:
            name = " ".join(phrase)
            raise _refusal(sql, item, None, f"{name} cannot run in a transaction, and a migration is one: remove it")
    if words[:1] == ("COPY",) and _copies_to_client(statement):
        raise _refusal(sql, item, None, "COPY … TO STDOUT has nobody to read it: remove it")


def _copies_to_client(statement: Statement) -> bool:
    words = [token.word for token in statement.tokens if not token.is_blank]
    return ("TO", "STDOUT") in pairwise(words)


def _without_transactions(sql: str, items: Sequence[Numbered]) -> list[Numbered]:
    kept: list[Numbered] = []
    opened: Numbered | None = None
    for item in items:
        words = item.statement.keywords
        role = _transaction_role(words)
        if role is None:
            kept.append(item)
        elif role == "open" and opened is None:
            opened = item
        elif role == "close" and opened is not None:
            opened = None
        else:
            raise _refusal(
                sql, item, None, f"{words[0]} is not possible here: a migration is one transaction, so remove it"
            )
    if opened is not None:
        raise _refusal(sql, opened, None, "BEGIN has no COMMIT: a migration is one transaction, so remove it")
    return kept


def _transaction_role(words: tuple[str, ...]) -> str | None:
    first, second = (*words, "", "")[:2]
    if first == "BEGIN" or (first == "START" and second == "TRANSACTION"):
        return "open"
    if first in _CLOSERS and second != "PREPARED" and "CHAIN" not in words:
        return "close"
    if first == "ROLLBACK" and ("TO" in words[1:3] or "SAVEPOINT" in words):
        return None
    if first in (*_CLOSERS, "ROLLBACK", "ABORT") or words[:2] == ("PREPARE", "TRANSACTION"):
        return "refused"
    return None


def _refusal(sql: str, item: Numbered, offset: int | None, reason: str) -> Refused:
    at = first_word_offset(item.statement) if offset is None else offset
    message = f"{reason} (line {line_of(sql, at)})."
    return Refused(SqlError(sqlstate=None, message=message, position=at + 1, statement=item.number))
