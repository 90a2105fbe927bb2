"""Markdown fences and prose around the SQL, as chat models write them."""

from __future__ import annotations

import json
import re

from orchestrator.migrations.fixers.base import Fix, FixContext

_FENCE = re.compile(
    r"^[ \t]*(?P<marks>```+|~~~+)[ \t]*(?P<tag>[\w+-]*)[^\n]*\n(?P<body>.*?)^[ \t]*(?P=marks)[ \t]*$",
    re.DOTALL | re.MULTILINE,
)
_SQL_TAGS = frozenset(("", "sql", "postgresql", "postgres", "pgsql", "psql", "plpgsql"))
# Several blocks are parts of one script, unless the prose offers them as a choice or as a way back.
_CHOICE = re.compile(
    r"\b(alternativ\w*|instead|or:|option|either|rollback|roll back|revert|undo|down|example|before|current(ly)?)\b",
    re.IGNORECASE,
)
_STATEMENT_START = re.compile(
    r"""\s*(?: -- | /\*
    | CREATE \s+ (?:OR\s+REPLACE\s+|UNIQUE\s+|TEMP\w*\s+|UNLOGGED\s+|MATERIALIZED\s+)?
      (?:TABLE|INDEX|VIEW|FUNCTION|PROCEDURE|TYPE|SCHEMA|SEQUENCE|TRIGGER|EXTENSION|DOMAIN|POLICY|RULE)\b
    | ALTER \s+ (?:TABLE|TYPE|INDEX|VIEW|SEQUENCE)\b
    | DROP \s+ (?:TABLE|INDEX|VIEW|TYPE|FUNCTION|SCHEMA|TRIGGER)\b
    | INSERT\s+INTO\b | DELETE\s+FROM\b | MERGE\s+INTO\b | UPDATE\s+\S+\s+(?:AS\s+)?(?:\w+\s+)?SET\b
    | SELECT\b | WITH\s+\S+\s+AS\b | DO\s+\$ | COMMENT\s+ON\b | TRUNCATE\b | COPY\b | SET\s+\w+\s*(?:=|TO\b)
    | BEGIN\s*; | START\s+TRANSACTION\b | GRANT\b | CALL\b )""",
    re.IGNORECASE | re.VERBOSE,
)


def repair(context: FixContext) -> Fix | None:
    """Only for syntax errors and psql commands: what parses is never taken for prose."""
    if context.error.sqlstate not in (None, "42601"):
        return None
    bare = unwrap(context.sql)
    if bare is None:
        return None
    return Fix(sql=bare, note="took the SQL out of the text around it")


def unwrap(text: str) -> str | None:
    """The SQL within fences, a JSON object or prose; None where there is nothing around it, or no telling what."""
    bare = _from_json(text) or _from_fences(text) or _from_prose(text)
    return bare if bare and bare.strip() else None


def _from_json(text: str) -> str | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text, strict=False)
    except ValueError:
        return None
    sql = value.get("sql") if isinstance(value, dict) else None
    return sql if isinstance(sql, str) and sql.strip() else None


def _from_fences(text: str) -> str | None:
    blocks = list(_FENCE.finditer(text))
    chosen = [block for block in blocks if block["tag"].lower() in _SQL_TAGS]
    if not chosen:
        return _from_open_fence(text)
    around = _FENCE.sub("\n", text)
    if len(blocks) > 1 and _CHOICE.search(around):
        return None
    if any(_STATEMENT_START.match(line) and ";" in line for line in around.splitlines()):
        return None  # SQL outside of the fences as well: which is meant?
    return "\n".join(block["body"] for block in chosen)


def _from_open_fence(text: str) -> str | None:
    """A fence that opens on the first line and never closes, or closes on the last line only."""
    lines = text.strip().splitlines()
    fences = [i for i, line in enumerate(lines) if line.strip().startswith(("```", "~~~"))]
    if len(fences) != 1 or fences[0] not in (0, len(lines) - 1):
        return None
    return "\n".join(line for i, line in enumerate(lines) if i != fences[0]) + "\n"


def _from_prose(text: str) -> str | None:
    """Lines before the first statement and after the last semicolon, if they read like sentences."""
    lines = text.splitlines(keepends=True)
    first = next((i for i, line in enumerate(lines) if _starts_statement(lines, i)), None)
    last = next((i for i in range(len(lines) - 1, -1, -1) if lines[i].rstrip().endswith(";")), None)
    if first is None or last is None or last < first:
        return None
    head, tail = lines[:first], lines[last + 1 :]
    if not any(line.strip() for line in (*head, *tail)) or not all(_is_prose(line) for line in (*head, *tail)):
        return None
    return "".join(lines[first : last + 1])


def _starts_statement(lines: list[str], i: int) -> bool:
    """A line such as "Create the index on email:" begins with a verb and is prose all the same."""
    return bool(_STATEMENT_START.match(lines[i])) and not lines[i].rstrip().endswith((":", "."))


def _is_prose(line: str) -> bool:
    stripped = line.strip()
    if not stripped or stripped.startswith("--"):
        return True
    if ";" in stripped or stripped.startswith(("(", ")", "\\")):
        return False
    return len(stripped.split()) >= 3 or stripped.endswith((":", "!", "."))
