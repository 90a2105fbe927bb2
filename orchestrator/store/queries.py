"""The registry's static SQL: `store/sql/<table>.sql`, in blocks headed `-- name --`, read once."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_HEADING = re.compile(r"^-- (?P<name>[a-z_]+) --$", re.MULTILINE)


@cache
def blocks(table: str) -> dict[str, bytes]:
    """The blocks of one file by name. A block is handed to psycopg as bytes: static SQL, never formatted."""
    text = (files("orchestrator.store") / "sql" / f"{table}.sql").read_text(encoding="utf-8")
    headings = list(_HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    found = {h["name"]: text[h.end() : end].strip().encode() for h, end in zip(headings, ends, strict=True)}
    if len(found) != len(headings):
        raise ValueError(f"store/sql/{table}.sql names a block twice")
    return found
