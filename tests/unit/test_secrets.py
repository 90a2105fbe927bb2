"""Redaction: what is struck out, and what is left as it is."""

from __future__ import annotations

import time

import pytest

from orchestrator.secrets import (
    derive,
    redact,
    redactor,
    split_password,
    split_url_password,
    with_url_password,
)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("postgresql://ann:s3cret@db/shop", "postgresql://ann:***@db/shop"),
        ("redis://:s3cret@host:6379/0", "redis://:***@host:6379/0"),
        ("redis://ann:s3@c@ret@host/0", "redis://ann:***@host/0"),
        ("from a://x:s3cret@h to b://y:s3cret@h", "from a://x:***@h to b://y:***@h"),
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


@pytest.mark.parametrize(
    ("conninfo", "password"),
    [
        ("postgresql://ann:s3cret@db:5433/shop", "s3cret"),
        ("postgresql://ann:p%40ss%2Fword@db/shop", "p@ss/word"),
        ("host=db user=ann password='with a blank'", "with a blank"),
        ("postgresql://ann@db/shop", None),
    ],
)
def test_an_address_is_taken_apart_into_itself_and_its_password(conninfo: str, password: str | None) -> None:
    rest, found = split_password(conninfo)
    assert found == password
    assert "password" not in rest
    assert "user=ann" in rest
    assert split_password(rest) == (rest, None)


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/3",
        "redis://ann@cache/0",
        "rediss://[::1]:6380/0",
        "https://models.example.org/v1?x=y",
    ],
)
@pytest.mark.parametrize("password", ["s3cret", "p@ss:w/rd#?%", "ü"])
def test_a_password_goes_into_a_url_and_comes_out_of_it_as_it_was(url: str, password: str) -> None:
    joined = with_url_password(url, password)
    assert joined != url
    assert split_url_password(joined) == (url, password)
    assert password not in redact(joined)


def test_a_url_that_has_a_password_keeps_it() -> None:
    url = "redis://:own@h:6379/0"
    assert with_url_password(url, "other") == url
    assert with_url_password("redis://h/0", None) == "redis://h/0"
    assert split_url_password("redis://h/0") == ("redis://h/0", None)
