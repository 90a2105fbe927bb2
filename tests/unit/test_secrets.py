"""Redaction: what is struck out, and what is left as it is."""

from __future__ import annotations

import time

import pytest

from orchestrator.secrets import derive, redact, redactor


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("postgresql://ann:s3cret@db/shop", "postgresql://ann:***@db/shop"),
        ("redis://:s3cret@host:6379/0", "redis://:***@host:6379/0"),
        ("host=db password=s3cret user=ann", "host=db password=*** user=ann"),
        ("{'api_key': 's3cret'}", "{'api_key': ***}"),
        ("OPENAI_API_KEY=s3cret", "OPENAI_API_KEY=***"),
        ("PGPASSWORD=s3cret psql", "PGPASSWORD=*** psql"),
        ("Token: s3cret", "Token: ***"),
        ("https://example.org/a:b", "https://example.org/a:b"),
        ("secretary: Ann", "secretary: Ann"),
        ("passwords are derived", "passwords are derived"),
    ],
)
def test_passwords_are_struck_out_and_other_words_stay(text: str, redacted: str) -> None:
    assert redact(text) == redacted


def test_a_known_secret_is_struck_out_wherever_it_stands() -> None:
    strike = redactor("p/ss w@rd!", "other-key", "other-key-2", "")
    assert (
        strike("plainly p/ss w@rd! or p%2Fss%20w%40rd%21 (other-key-2, other-key)") == "plainly *** or *** (***, ***)"
    )
    assert redactor()("nothing is known: password=x") == "nothing is known: password=***"


def test_a_line_without_end_is_redacted_in_no_time() -> None:
    began = time.perf_counter()
    redact("a" * 200_000)
    redact("secret" * 30_000)
    assert time.perf_counter() - began < 1


def test_a_derived_password_depends_on_the_key_and_on_every_part() -> None:
    same = derive(b"key", "fork", "a", "agent")
    assert same == derive(b"key", "fork", "a", "agent")
    others = {
        derive(b"key", "fork", "a", "capture"),
        derive(b"other", "fork", "a", "agent"),
        derive(b"key", "forka", "agent"),
    }
    assert len({same, *others}) == 4
    assert len(same) == 43
