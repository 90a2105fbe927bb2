"""Celery's configuration: each value that a measured fact stands behind, and no secret where it can be read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from orchestrator.maintenance import SWEEPS
from orchestrator.settings import BrokerSettings, Settings, SweepSettings
from workers.config import beat_schedule, celery_config
from workers.task import MAX_COUNTDOWN_SECONDS


@pytest.fixture
def config() -> dict[str, Any]:
    return celery_config(Settings())


def with_broker(**values: Any) -> dict[str, Any]:
    return celery_config(Settings(broker=BrokerSettings(**values)))


def test_messages_are_acknowledged_early_and_nothing_is_prefetched(config: dict[str, Any]) -> None:
    assert config["task_acks_late"] is False
    assert config["worker_disable_prefetch"] is True
    assert config["worker_prefetch_multiplier"] == 1


def test_no_countdown_outlasts_the_visibility_timeout() -> None:
    # A message that waits longer than the timeout is delivered again, and again.
    smallest = with_broker(visibility_timeout_seconds=60)["broker_transport_options"]["visibility_timeout"]
    assert smallest >= MAX_COUNTDOWN_SECONDS
    with pytest.raises(ValueError, match="60"):
        BrokerSettings(visibility_timeout_seconds=59)


def test_the_broker_and_its_results_have_keys_and_sockets_of_their_own(config: dict[str, Any]) -> None:
    broker, results = config["broker_transport_options"], config["result_backend_transport_options"]
    assert broker["global_keyprefix"] == "forkyard:broker:"
    assert results["global_keyprefix"] == "forkyard:results:"
    other = with_broker(key_prefix="second:")
    assert other["broker_transport_options"]["global_keyprefix"] == "second:broker:"
    for options in (broker, results):
        assert options["socket_timeout"] > 0
        assert options["socket_connect_timeout"] > 0
        assert (options["unacked_restore_interval"], options["unacked_restore_throttle"]) == (5, 1)


def test_a_worker_waits_for_its_broker_at_the_start_and_later(config: dict[str, Any]) -> None:
    assert config["broker_connection_retry_on_startup"] is True
    assert config["broker_connection_max_retries"] is None


def test_results_end_and_chords_may_take_a_week(config: dict[str, Any]) -> None:
    assert config["result_expires"] == timedelta(days=1)
    assert config["result_chord_expires"] == timedelta(days=7)


def test_only_json_is_read(config: dict[str, Any]) -> None:
    assert config["accept_content"] == ["json"]
    assert config["task_serializer"] == config["result_serializer"] == "json"


@pytest.mark.parametrize(
    ("url", "password", "expected"),
    [
        ("redis://h:6379/0", None, "redis://h:6379/0"),
        ("redis://h:6379/0", "a/b@c", "redis://:a%2Fb%40c@h:6379/0"),
        ("redis://:own@h:6379/0", "other", "redis://:own@h:6379/0"),
        ("rediss://ann@h/2", "x", "rediss://ann:x@h/2"),
    ],
)
def test_the_broker_s_password_may_stand_apart_from_its_address(url: str, password: str | None, expected: str) -> None:
    config = with_broker(url=url, password=password)
    assert config["broker_url"] == config["result_backend"] == expected


def test_logs_and_output_are_left_to_our_own_formatter(config: dict[str, Any]) -> None:
    assert config["worker_redirect_stdouts"] is False


def test_every_sweep_is_on_the_schedule_and_nothing_else() -> None:
    schedule = beat_schedule(SweepSettings())
    assert set(schedule) == set(SWEEPS)
    for name, entry in schedule.items():
        assert (entry["task"], entry["args"], entry["options"]["queue"]) == ("forkyard.sweep", (name,), "gc")


def test_a_message_that_waited_a_whole_period_expires() -> None:
    for entry in beat_schedule(SweepSettings(rescue_every_seconds=7)).values():
        assert timedelta(seconds=entry["options"]["expires"]) == entry["schedule"]


def test_the_periods_are_those_of_the_settings() -> None:
    schedule = beat_schedule(SweepSettings(expire_every_seconds=11, rescue_every_seconds=12, pool_every_seconds=13))
    seconds = {name: entry["schedule"].total_seconds() for name, entry in schedule.items()}
    assert seconds == {
        "expire": 11,
        "orphans": 11,
        "workspaces": 11,
        "rescue": 12,
        "pool": 13,
        "prune": 24 * 3600,
    }


def test_forks_are_swept_every_six_hours_and_leases_every_thirty_seconds() -> None:
    schedule = beat_schedule(SweepSettings())
    assert schedule["expire"]["schedule"] == timedelta(hours=6)
    assert schedule["rescue"]["schedule"] == timedelta(seconds=30)
