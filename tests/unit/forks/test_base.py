from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import SettingsError
from orchestrator.forks import BUILT_IN, open_provider
from orchestrator.forks.base import Provider, Stamp
from orchestrator.forks.names import parse_name, resource_name

text = st.text(max_size=40)


@given(
    stamp=st.builds(
        Stamp,
        installation=text,
        project=text,
        kind=st.sampled_from(["baseline", "fork"]),
        resource_id=st.integers(1, 10**17),
        run=st.none() | text,
        expires_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    )
)
def test_a_stamp_survives_its_way_through_a_comment(stamp: Stamp) -> None:
    assert Stamp.from_json(stamp.to_json()) == stamp


@pytest.mark.parametrize(
    "comment",
    [None, "", "a person's remark", "[1]", "{}", '{"forkyard": 2}', '{"forkyard": 1}', '{"forkyard": 1, "x": 1}'],
)
def test_any_other_comment_is_no_stamp(comment: str | None) -> None:
    assert Stamp.from_json(comment) is None


def test_an_expiry_keeps_its_time_zone() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    stamp = Stamp(installation="i", project="p", kind="fork", resource_id=1, expires_at=at)
    assert Stamp.from_json(stamp.to_json()) == stamp


@pytest.mark.parametrize("name", ["fy_", "fy_0123456_f1", "fy_01234567_f0", "fy_01234567_f1_read", "FY_01234567_f1"])
def test_a_name_that_is_nearly_ours_is_not_ours(name: str) -> None:
    assert parse_name(name) is None


def test_a_name_tells_whose_and_what_it_is() -> None:
    parsed = parse_name(resource_name("0123ABCD-0000-4000-8000-000000000000", "fork", 12))
    assert parsed is not None
    assert (parsed.installation, parsed.kind, parsed.resource_id) == ("0123abcd", "fork", 12)


def test_every_built_in_provider_has_its_own_name(tmp_path: Path) -> None:
    for name in BUILT_IN:
        provider = open_provider(
            name, host_conninfo="host=db user=x", installation="i" * 32, key=b"k", scratch_dir=tmp_path
        )
        assert isinstance(provider, Provider)
        assert provider.name == name


def test_an_unknown_provider_is_a_mistake_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match='did you mean "clone"'):
        open_provider("clones", host_conninfo="", installation="", key=b"", scratch_dir=tmp_path)
