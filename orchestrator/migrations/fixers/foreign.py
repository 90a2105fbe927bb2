"""SQL of MySQL, SQLite, SQL Server and Oracle, rewritten token by token; what is PostgreSQL's stays as it is.

What has no faithful counterpart (ON UPDATE CURRENT_TIMESTAMP, FULLTEXT, NOCASE, …) is declined, not dropped.
"""

from __future__ import annotations

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.foreign_alter import rewrite_alters
from orchestrator.migrations.fixers.foreign_expressions import rewrite_expressions
from orchestrator.migrations.fixers.foreign_quotes import rewrite_quotes
from orchestrator.migrations.fixers.foreign_tables import Declined, rewrite_tables

_STATES = (None, "42601", "42703", "42704", "42804", "42883", "42P01", "3F000", "42P13", "42611", "22P02")


def repair(context: FixContext) -> Fix | None:
    if context.error.sqlstate not in _STATES:
        return None
    text = context.sql
    try:
        text = rewrite_quotes(text, context.schema)
        text = rewrite_alters(text, context.schema)
        text = rewrite_tables(text, context.schema)
        text = rewrite_expressions(text, context.schema)
    except Declined:
        return None
    return Fix(sql=text, note="rewrote another database's SQL for PostgreSQL") if text != context.sql else None
