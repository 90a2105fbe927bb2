from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.agents.result import AgentResult, read_result
from orchestrator.errors import AgentError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "result.json"


def test_metrics_become_floats_and_notes_are_kept(path: Path) -> None:
    path.write_text('{"metrics": {"score": 3, "loss": 0.25}, "notes": "fine", "more": [1]}')
    assert read_result(path) == AgentResult(metrics={"score": 3.0, "loss": 0.25}, notes="fine")


@pytest.mark.parametrize("text", ["", "  \n", "{}", '{"metrics": null, "notes": null}'])
def test_an_empty_result_is_no_error(path: Path, text: str) -> None:
    path.write_text(text)
    assert read_result(path) == AgentResult()


def test_a_missing_result_is_no_error(path: Path) -> None:
    assert read_result(path) == AgentResult()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"score: 3", "not valid JSON: Expecting value at line 1, column 1"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b"[1]", "must hold an object"),
        (b'{"metrics": [1]}', "must be an object of names"),
        (b'{"metrics": {"score": "high"}}', "The metric 'score' in the agent's result file is 'high', not a number"),
        (b'{"metrics": {"score": true}}', "not a number"),
        (b'{"metrics": {"score": NaN}}', "not a number"),
        (b'{"metrics": {"score": 1e999}}', "not a number"),
        (b'{"metrics": {"score": 1' + b"0" * 400 + b"}}", "not a number"),
        (b'{"notes": 7}', "must be text"),
        (b" " * 1_000_001, "larger than 1 MB"),
    ],
)
def test_a_bad_result_is_told_in_one_sentence(path: Path, content: bytes, sentence: str) -> None:
    path.write_bytes(content)
    with pytest.raises(AgentError) as failure:
        read_result(path)
    assert sentence in str(failure.value)
    assert str(failure.value).endswith(".")
    assert "\n" not in str(failure.value)


def test_a_link_is_not_followed_out_of_the_workspace(path: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('{"notes": "secret"}')
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(AgentError, match="cannot be read"):
        read_result(path)


def test_a_fifo_does_not_make_the_worker_wait(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(AgentError, match="not a plain file"):
        read_result(path)


def test_a_folder_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(AgentError, match="not a plain file"):
        read_result(path)
