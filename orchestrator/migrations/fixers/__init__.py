"""Repairs for broken migrations: rules first, the language model last."""

from __future__ import annotations

from orchestrator.migrations.fixers import (
    aliases,
    argument_casts,
    assigned_types,
    comparison_casts,
    concurrently,
    duplicates,
    foreign,
    if_not_exists,
    keywords,
    letter_case,
    near_names,
    not_null,
    operators,
    order,
    prose,
    reserved_words,
    separators,
    string_quotes,
    trailing_comma,
    transpile,
    typography,
    unterminated,
    update_join,
    upsert,
    using_clause,
)
from orchestrator.migrations.fixers.rule import Rule

__all__ = ["RULES"]

RULES: tuple[Rule, ...] = (
    # What surrounds the SQL, or is no SQL at all, comes before any reading of it.
    Rule(name="prose", repair=prose.repair),
    Rule(name="typography", repair=typography.repair),
    # Another database's SQL holds many errors at once; one pass repairs them all.
    Rule(name="foreign", repair=foreign.repair),
    Rule(name="transpile", repair=transpile.repair),
    Rule(name="update_join", repair=update_join.repair),
    Rule(name="upsert", repair=upsert.repair),
    # Syntax.
    Rule(name="trailing_comma", repair=trailing_comma.repair),
    Rule(name="separators", repair=separators.repair),
    Rule(name="unterminated", repair=unterminated.repair),
    Rule(name="reserved_words", repair=reserved_words.repair),
    Rule(name="if_not_exists", repair=if_not_exists.repair),
    Rule(name="operators", repair=operators.repair),
    Rule(name="keywords", repair=keywords.repair),
    # Names: what the migration makes itself later beats what is only spelt alike.
    Rule(name="order", repair=order.repair),
    Rule(name="aliases", repair=aliases.repair),
    Rule(name="letter_case", repair=letter_case.repair),
    Rule(name="string_quotes", repair=string_quotes.repair),
    Rule(name="near_names", repair=near_names.repair),
    # Meaning.
    Rule(name="duplicates", repair=duplicates.repair, allowed=(("IF", "NOT", "EXISTS"),)),
    Rule(name="not_null", repair=not_null.repair),
    Rule(name="using_clause", repair=using_clause.repair),
    Rule(name="comparison_casts", repair=comparison_casts.repair),
    Rule(name="assigned_types", repair=assigned_types.repair),
    Rule(name="argument_casts", repair=argument_casts.repair),
    Rule(name="concurrently", repair=concurrently.repair),
)
"""All rules, in the order in which they are asked."""
