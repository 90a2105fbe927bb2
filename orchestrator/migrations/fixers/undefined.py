"""What an "undefined" error says: the kind of the thing, its name, and where it was looked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from orchestrator.migrations.records import SqlError

What = Literal["table", "column", "function", "type", "schema"]

_PATTERNS: tuple[tuple[str, What, re.Pattern[str]], ...] = (
    ("42P01", "table", re.compile(r'^relation "(?P<name>.+)" does not exist$')),
    ("42703", "column", re.compile(r'^column "(?P<name>.+)" of relation "(?P<table>.+)" does not exist$')),
    (
        "42703",
        "column",
        re.compile(r'^column "(?P<name>.+)" (?:named in key|referenced in foreign key constraint)? ?does not exist$'),
    ),
    ("42703", "column", re.compile(r"^column (?P<qualifier>[^\s\"]+)\.(?P<name>[^\s\"]+) does not exist$")),
    ("42883", "function", re.compile(r"^function (?P<name>[^(]+)\(.*\) does not exist$")),
    ("42704", "type", re.compile(r'^type "(?P<name>.+)" does not exist$')),
    ("3F000", "schema", re.compile(r'^schema "(?P<name>.+)" does not exist$')),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Undefined:
    what: What
    name: str
    schema: str | None = None
    table: str | None = None
    """For a column: the table it was looked for in, where the server says so."""
    qualifier: str | None = None
    """For a column: the table or alias written before it."""


def read_undefined(error: SqlError) -> Undefined | None:
    """None for any other error."""
    for sqlstate, what, pattern in _PATTERNS:
        match = pattern.match(error.message) if error.sqlstate == sqlstate else None
        if match is None:
            continue
        parts = match.groupdict()
        name, schema = parts["name"], None
        if what in ("table", "function", "type") and "." in name:
            schema, name = name.rsplit(".", 1)
        return Undefined(
            what=what, name=name, schema=schema, table=parts.get("table"), qualifier=parts.get("qualifier")
        )
    return None
