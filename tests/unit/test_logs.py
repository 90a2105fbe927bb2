"""Logs: one JSON object a line from workers, lines for people from commands, and no secret in either."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from orchestrator.logs import configure_console, configure_logging

URL = "postgresql://me:hunter2@h/d"


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


Lines = Callable[[Callable[[], object]], list[dict[str, Any]]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """`lines(act)`: what a worker logs while `act` runs."""

    def read(act: Callable[[], object]) -> list[dict[str, Any]]:
        configure_logging("INFO")
        act()
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "hunter2" not in captured.err
        return [json.loads(line) for line in captured.err.splitlines()]

    return read


def test_a_line_is_one_object_with_time_level_and_logger(lines: Lines) -> None:
    [line] = lines(lambda: structlog.get_logger("a.module").warning("fenced", run="clean/careful#2", epoch=3))
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "fenced",
        "level": "warning",
        "logger": "a.module",
        "run": "clean/careful#2",
        "epoch": 3,
    }


def test_the_standard_library_s_loggers_come_the_same_way(lines: Lines) -> None:
    [line] = lines(lambda: logging.getLogger("celery.worker").info("task %s at %s", "settle", URL))
    assert (line["event"], line["logger"]) == ("task settle at postgresql://me:***@h/d", "celery.worker")


def test_what_is_below_the_level_is_not_said(lines: Lines) -> None:
    assert lines(lambda: structlog.get_logger("x").debug("whisper")) == []
    assert lines(lambda: logging.getLogger("y").debug("whisper")) == []


class Opaque:
    def __repr__(self) -> str:
        return f"Opaque({URL})"


@pytest.mark.parametrize(
    "value",
    [
        URL,
        ["psql", URL],
        ("psql", [URL]),
        {"argv": ["psql", URL]},
        {URL: 1},
        {URL},
        Opaque(),
        [Opaque()],
        RuntimeError(f"cannot reach {URL}"),
        "password=hunter2",
        "OPENAI_API_KEY=hunter2",
    ],
)
def test_secrets_are_struck_out_however_deep_they_lie(lines: Lines, value: object) -> None:
    [line] = lines(lambda: structlog.get_logger("x").warning("cannot connect", to=value))
    assert "***" in json.dumps(line)


def fail() -> None:
    try:
        try:
            raise ValueError(URL)
        except ValueError as exc:
            raise RuntimeError("password=hunter2") from exc
    except RuntimeError:
        structlog.get_logger("x").exception("unexpected error")


def test_an_exception_is_told_with_its_cause_and_without_secrets(lines: Lines) -> None:
    [line] = lines(fail)
    assert "RuntimeError: password=***" in line["exception"]
    assert "postgresql://me:***@h/d" in line["exception"]


def test_configuring_twice_says_everything_once(lines: Lines) -> None:
    configure_logging("INFO")
    assert len(lines(lambda: structlog.get_logger("x").info("once"))) == 1
    assert len(lines(lambda: logging.getLogger("y").info("once"))) == 1


def test_a_command_s_lines_are_for_people_and_hold_no_secret_either(capsys: pytest.CaptureFixture[str]) -> None:
    configure_console()
    structlog.get_logger("x").warning("not sent; rescue will send it", error=f"cannot reach {URL}")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "not sent; rescue will send it" in captured.err
    assert "me:***@h" in captured.err


def test_a_command_s_traceback_does_not_show_what_variables_hold(capsys: pytest.CaptureFixture[str]) -> None:
    configure_console()
    held = "".join(["hunt", "er2"])
    try:
        raise RuntimeError(len(held))
    except RuntimeError:
        structlog.get_logger("x").exception("a run cannot be rescued")
    captured = capsys.readouterr()
    assert "RuntimeError: 7" in captured.err
    assert "hunter2" not in captured.err
