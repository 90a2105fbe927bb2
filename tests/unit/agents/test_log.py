from __future__ import annotations

import stat
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from orchestrator.agents.log import Log
from orchestrator.errors import AgentError
from orchestrator.secrets import redact


def written(path: Path, pieces: Iterable[bytes], *, limit: int = 1_000_000, hide: Callable[[str], str] = redact) -> Log:
    with Log(path, limit_bytes=limit, redact=hide) as log:
        for piece in pieces:
            log.write(piece)
    return log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.log"


def test_a_log_is_readable_by_its_owner_alone_even_when_it_replaces_an_open_one(path: Path) -> None:
    path.write_text("of an earlier attempt")
    path.chmod(0o666)
    written(path, [b"new\n"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "new\n"


def test_a_log_does_not_follow_a_link(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    with pytest.raises(AgentError, match="cannot be written"):
        written(path, [b"x"])
    assert victim.read_text() == "precious"


def test_a_password_cut_in_two_by_the_pipe_is_redacted(path: Path) -> None:
    written(path, [b"connecting to postgres://u:sec", b"ret@host/db\n", b"done"])
    assert path.read_text() == "connecting to postgres://u:***@host/db\ndone\n"


def test_bytes_that_are_not_utf8_and_nul_become_replacement_characters(path: Path) -> None:
    written(path, [b"caf\xc3", b"\xa9 \xff\xfe a\x00b\n"])
    assert path.read_text(encoding="utf-8") == "café \ufffd\ufffd a\ufffdb\n"


def test_carriage_returns_end_lines(path: Path) -> None:
    written(path, [b"10%\r50%\r100%\r\nend\n"])
    assert path.read_bytes() == b"10%\n50%\n100%\nend\n"


def test_a_flood_is_cut_with_one_line_and_its_end_is_kept(path: Path) -> None:
    log = written(path, (b"line %08d\n" % number for number in range(100_000)), limit=50_000)
    text = path.read_text()
    assert log.truncated
    assert log.size == path.stat().st_size <= 50_000 + 200
    assert text.count("truncated") == 1
    assert text.startswith("line 00000000\n")
    assert text.endswith("line 00099999\n")
    assert all(len(line) == 13 for line in text.splitlines() if not line.startswith("[forkyard"))


def test_a_log_just_over_its_head_loses_nothing_that_the_tail_can_hold(path: Path) -> None:
    lines = [b"line %03d\n" % number for number in range(100)]
    log = written(path, lines, limit=1_000)
    kept = [line for line in path.read_bytes().splitlines(keepends=True) if not line.startswith(b"[forkyard")]
    assert log.truncated
    assert kept == lines


def test_a_hundred_megabytes_take_little_memory(path: Path) -> None:
    piece = b"x" * 65_536
    tracemalloc.start()
    try:
        written(path, (piece for _ in range(1_600)), limit=100_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
    assert path.stat().st_size <= 100_200


def test_an_endless_line_is_cut_and_the_next_line_is_whole(path: Path) -> None:
    log = written(path, [b"y" * 50_000] * 10 + [b"end of it\nnext\n"])
    lines = path.read_text().splitlines()
    assert lines[0].startswith("yyy")
    assert lines[0].endswith("[forkyard: line cut]")
    assert lines[1:] == ["next"]
    assert not log.truncated


@pytest.mark.parametrize("before", [65_400, 65_500, 65_530, 65_536, 65_600])
def test_a_password_at_the_cut_of_an_endless_line_does_not_show(path: Path, before: int) -> None:
    line = b"y" * (before - 1) + b" postgres://user:opensesame@host/db" + b"z" * 100_000 + b"\n"
    written(path, [line[start : start + 4_096] for start in range(0, len(line), 4_096)])
    assert "open" not in path.read_text()


@pytest.mark.parametrize("limit", range(0, 400, 7))
def test_a_password_at_any_cut_of_the_log_does_not_show(path: Path, limit: int) -> None:
    lines = b"".join(b"%d postgres://user:opensesame@host/db\n" % number for number in range(20))
    written(path, [lines], limit=limit)
    assert "sesame" not in path.read_text()
    assert path.stat().st_size <= limit + 100


def test_closing_twice_is_harmless(path: Path) -> None:
    log = Log(path, limit_bytes=10, redact=str)
    log.close()
    log.close()
    assert path.read_bytes() == b""
