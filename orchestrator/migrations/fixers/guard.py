"""What no repair may do, whoever proposes it: destroy, take rights, invent data, or drop what was asked for.

The comparison is by tokens, and errs on the side of refusing: a refused repair costs a failed run, a wrong one
costs data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

from orchestrator.migrations.fixers.prose import unwrap
from orchestrator.migrations.fixers.text import VERBS, closing, elements
from orchestrator.migrations.lexer import Kind, Token, lex, significant
from orchestrator.migrations.script import Refused, read_script
from orchestrator.migrations.split import split

_DESTRUCTIVE = frozenset(("DROP", "TRUNCATE", "DELETE", "GRANT", "REVOKE", "REASSIGN", "PROGRAM"))
_EVENT_WORDS = frozenset(("ON", "BEFORE", "AFTER", "OR", "OF", "FOR"))
_ADMINISTRATIVE = frozenset(
    (verb, thing)
    for verb in ("CREATE", "ALTER", "DROP", "SET", "SECURITY", "IMPORT")
    for thing in (
        *("ROLE", "USER", "GROUP", "SYSTEM", "DATABASE", "TABLESPACE", "SERVER", "EXTENSION", "EVENT", "LANGUAGE"),
        *("SUBSCRIPTION", "PUBLICATION", "SESSION", "LABEL", "FOREIGN", "POLICY", "SESSION_REPLICATION_ROLE"),
    )
)
_WRITES = frozenset(("INSERT", "UPDATE", "MERGE", "COPY", "DO", "CALL", "EXECUTE", "SELECT", "WITH", "SET", "LOCK"))
# Read by other databases and without meaning here: these may go.
_IGNORABLE = frozenset(("BEGIN", "START", "COMMIT", "END", "USE", "PRAGMA", "GO", "DELIMITER", "UNLOCK"))
_IGNORABLE_SETTINGS = frozenset(
    ("NAMES", "FOREIGN_KEY_CHECKS", "UNIQUE_CHECKS", "SQL_MODE", "IDENTITY_INSERT", "ANSI_NULLS", "QUOTED_IDENTIFIER")
)
_SAME_KIND = {"REPLACE": "INSERT", "RENAME TABLE": "ALTER TABLE"}
_MUST_NOT_FALL = (
    ("NOT", "NULL"),
    ("UNIQUE",),
    ("CHECK",),
    ("REFERENCES",),
    ("PRIMARY", "KEY"),
    ("FOREIGN", "KEY"),
    ("EXCLUDE",),
    ("WHERE",),
    ("HAVING",),
)
_MUST_NOT_RISE = (
    ("IF", "NOT", "EXISTS"),
    ("IF", "EXISTS"),
    ("OR", "REPLACE"),
    ("CASCADE",),
    ("DO", "NOTHING"),
    ("NOT", "VALID"),
    ("NOT", "ENFORCED"),
    ("DISABLE",),
    ("SECURITY", "DEFINER"),
    ("EXCEPTION",),
    ("EXECUTE",),
)


def objection(original: str, candidate: str, *, allowed: Iterable[tuple[str, ...]] = ()) -> str | None:
    """Why the candidate must not be applied in place of the original, in one sentence; None if it may.

    `allowed` lists phrases (of `_MUST_NOT_RISE`) that a rule has proven harmless for the case at hand.
    """
    bare = unwrap(original) or original
    try:
        read_script(candidate)
    except Refused as exc:
        return f"It cannot run: {exc.error.message}"
    return (
        _destruction(bare, candidate)
        or _lost_or_added(bare, candidate)
        or _weakened(bare, candidate, frozenset(allowed))
        or _lost_parts(bare, candidate)
    )


def normal_form(tokens: Iterable[Token]) -> tuple[str, ...]:
    """Tokens without what quoting, case, commas, comments and CONCURRENTLY change."""
    form: list[str] = []
    for token in significant(tokens):
        text = token.identifier.lower() if token.kind in (Kind.WORD, Kind.NAME) else token.text.replace("`", "")
        if text and text not in ("[", "]", ";", ",", "concurrently"):
            form.append(text)
    return tuple(form)


def _destruction(original: str, candidate: str) -> str | None:
    before, after = Counter(_dangerous(original)), Counter(_dangerous(candidate))
    added, lost = after - before, before - after
    if added:
        return f"It adds or changes a statement that destroys data or changes rights: {_excerpt(added)}"
    return f"It leaves out or changes a statement that drops something: {_excerpt(lost)}" if lost else None


def _excerpt(forms: Counter[tuple[str, ...]]) -> str:
    return " ".join(next(iter(forms)))[:80] + "."


def _dangerous(sql: str) -> Iterator[tuple[str, ...]]:
    for piece in split(sql):
        if piece.keywords[:2] in _ADMINISTRATIVE or any(_is_destructive(piece.tokens)):
            yield normal_form(piece.tokens)


def _is_destructive(tokens: Iterable[Token]) -> Iterator[bool]:
    previous = ""
    for token in _flat(tokens):
        yield token.word in _DESTRUCTIVE and not (token.word == "DELETE" and previous in _EVENT_WORDS)
        previous = token.word


def _flat(tokens: Iterable[Token]) -> Iterator[Token]:
    """The significant tokens, those within dollar-quoted bodies included."""
    for token in significant(tokens):
        yield token
        if token.kind is Kind.DOLLAR:
            tag = token.text.index("$", 1) + 1
            yield from _flat(lex(token.text[tag : -tag if token.closed else None]))


def _lost_or_added(original: str, candidate: str) -> str | None:
    if _stream(original) == _stream(candidate):
        return None
    before, after = Counter(_kinds(original)), Counter(_kinds(candidate))
    unknown = sum(n for kind, n in before.items() if kind.split(" ")[0] not in VERBS)
    lost = Counter({kind: n for kind, n in (before - after).items() if kind.split(" ")[0] in VERBS})
    if lost:
        return f"It leaves out a statement that the migration had: {next(iter(lost))}."
    added = [kind for kind in (after - before).elements() if kind.split(" ")[0] in _WRITES]
    if len(added) > unknown:
        return f"It adds a statement that the migration did not have: {added[0]}."
    if after.total() < before.total():
        return "It has fewer statements than the migration had."
    return None


def _stream(sql: str) -> tuple[str, ...]:
    return normal_form(lex(sql))


def _kinds(sql: str) -> Iterator[str]:
    for piece in split(sql):
        heads = piece.keywords
        if piece.blank or not heads or heads[0] in _IGNORABLE or heads[:2] in (("LOCK", "TABLES"), ("ROLLBACK",)):
            continue
        if heads[0] == "SET" and any(word in _IGNORABLE_SETTINGS for word in heads[1:3]):
            continue
        kind = heads[0]
        if kind in ("CREATE", "ALTER", "DROP", "RENAME"):
            kind = " ".join((kind, _object_kind(heads[1:])))
        if kind == "ALTER TABLE" and _adds_index(piece.tokens):
            kind = "CREATE INDEX"
        yield _SAME_KIND.get(kind, kind)


def _adds_index(tokens: Iterable[Token]) -> bool:
    """MySQL's ALTER TABLE … ADD INDEX is a CREATE INDEX."""
    heads = [token.word for token in significant(tokens)]
    return any(pair in (("ADD", "INDEX"), ("ADD", "KEY")) for pair in pairwise(heads))


def _object_kind(heads: tuple[str, ...]) -> str:
    skipped = ("OR", "REPLACE", "UNIQUE", "TEMP", "TEMPORARY", "UNLOGGED", "CLUSTERED", "NONCLUSTERED", "RECURSIVE")
    return next((word for word in heads if word not in skipped), "")


def _weakened(original: str, candidate: str, allowed: frozenset[tuple[str, ...]]) -> str | None:
    before, after = _phrase_counts(original), _phrase_counts(candidate)
    phrase: tuple[str, ...]
    for phrase in _MUST_NOT_FALL:
        if after[phrase] < before[phrase]:
            return f"It removes a {' '.join(phrase)}."
    for phrase in _MUST_NOT_RISE:
        # MySQL's INSERT IGNORE and SQLite's INSERT OR IGNORE say the same as ON CONFLICT DO NOTHING.
        granted = before[("IGNORE",)] if phrase == ("DO", "NOTHING") else 0
        if after[phrase] > before[phrase] + granted and phrase not in allowed:
            return f"It adds {' '.join(phrase)}."
    return None


def _phrase_counts(sql: str) -> Counter[tuple[str, ...]]:
    stream = [token.word for token in _flat(lex(sql))]
    return Counter(
        phrase
        for phrase in (*_MUST_NOT_FALL, *_MUST_NOT_RISE, ("IGNORE",))
        for i in range(len(stream) - len(phrase) + 1)
        if tuple(stream[i : i + len(phrase)]) == phrase
    )


def _lost_parts(original: str, candidate: str) -> str | None:
    if _literals(candidate) < _literals(original):
        return "It writes fewer values than the migration did."
    if _parts(candidate) < _parts(original):
        return "It defines fewer columns, constraints or indexes than the migration did."
    return None


def _literals(sql: str) -> int:
    """How many literal values the statements that write data hold."""
    return sum(
        token.kind in (Kind.STRING, Kind.NUMBER, Kind.DOLLAR) or token.word in ("TRUE", "FALSE", "NULL")
        for piece in split(sql)
        if piece.keywords[:1] and piece.keywords[0] in ("INSERT", "REPLACE", "UPDATE", "MERGE")
        for token in piece.tokens
    )


def _parts(sql: str) -> int:
    """Elements of CREATE TABLE, actions of ALTER TABLE, and indexes."""
    count = 0
    for kind, piece in ((next(iter(_kinds(p.text)), ""), p) for p in split(sql)):
        tokens = significant(piece.tokens)
        if kind == "CREATE TABLE":
            opening = next((i for i, token in enumerate(tokens) if token.text == "("), None)
            end = closing(tokens, opening) if opening is not None else None
            spans = elements(tokens, opening, end) if opening is not None and end is not None else [(0, 1)]
            count += sum(stop > start for start, stop in spans)
        elif kind == "ALTER TABLE":
            count += sum(stop > start for start, stop in elements(tokens, -1, len(tokens)))
        elif kind == "CREATE INDEX":
            count += 1
    return count
