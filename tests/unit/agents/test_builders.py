from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator.agents import callable as callable_agent
from orchestrator.agents import command, sql
from orchestrator.errors import AgentFailed


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("word", ["python", "python3"])
def test_python_is_the_workers_own(workspace: Path, word: str) -> None:
    assert command.argv([word, "agent.py", "--careful"], workspace=workspace, path="") == (
        sys.executable,
        "agent.py",
        "--careful",
    )


def test_a_string_is_split_as_a_shell_would(workspace: Path) -> None:
    assert command.argv("python agent.py 'two words' $HOME", workspace=workspace, path="")[1:] == (
        "agent.py",
        "two words",
        "$HOME",
    )


def test_a_program_is_looked_up_in_the_agents_path(workspace: Path) -> None:
    assert command.argv(["sh", "-c", "x"], workspace=workspace, path="/bin") == ("/bin/sh", "-c", "x")


def test_a_program_with_a_slash_is_a_file_in_the_workspace(workspace: Path) -> None:
    (workspace / "agent.sh").write_text("#!/bin/sh\n")
    (workspace / "agent.sh").chmod(0o700)
    assert command.argv("./agent.sh 1", workspace=workspace, path="/bin") == (str(workspace / "agent.sh"), "1")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("", "is empty"),
        ([], "is empty"),
        ([""], "is empty"),
        ("sh -c 'unclosed", "cannot be split into words"),
        ("no-such-program-here", "'no-such-program-here' is not installed on this worker."),
        ("present.sh", "write './present.sh' for the file in the workspace"),
        ("./absent.sh", "'./absent.sh' is not a file in its workspace"),
        ("./present.sh", "is not executable"),
    ],
)
def test_a_command_that_cannot_run_is_told_in_one_sentence(
    workspace: Path, given: str | list[str], sentence: str
) -> None:
    (workspace / "present.sh").write_text("#!/bin/sh\n")
    with pytest.raises(AgentFailed) as failure:
        command.argv(given, workspace=workspace, path="/bin")
    assert sentence in str(failure.value)


@pytest.mark.parametrize("target", ["agents:quick", "my.agents:Class.method", "ägent:läuft"])
def test_a_callable_is_called_by_the_workers_python(target: str) -> None:
    program, *_, last = callable_agent.argv(target)
    assert (program, last) == (sys.executable, target)


@pytest.mark.parametrize("target", ["", "agents", "agents:", ":quick", "agents.py:quick()", "a:b:c", "1a:b", "a/b:c"])
def test_a_callable_of_another_form_is_refused(target: str) -> None:
    with pytest.raises(AgentFailed, match="'module:function'"):
        callable_agent.argv(target)


def test_a_folder_of_sql_is_copied(workspace: Path, tmp_path: Path) -> None:
    (workspace / "migrations").mkdir()
    for name in ("2.sql", "1.sql", "readme.md"):
        (workspace / "migrations" / name).write_bytes(b"\xff SELECT 1;")
    for _ in range(2):
        names = sql.copy_migrations("migrations/", workspace=workspace, migrations_dir=tmp_path / "out")
        assert names == ("1.sql", "2.sql")
    assert (tmp_path / "out" / "1.sql").read_bytes() == b"\xff SELECT 1;"
    assert not (tmp_path / "out" / "readme.md").exists()


@pytest.mark.parametrize(
    ("folder", "sentence"),
    [
        ("absent", "'absent' is not in its workspace"),
        ("empty", "holds no *.sql file"),
        ("..", "outside of its workspace"),
        ("/etc", "outside of its workspace"),
        ("out", "outside of its workspace"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told(workspace: Path, tmp_path: Path, folder: str, sentence: str) -> None:
    (workspace / "empty").mkdir()
    (workspace / "empty" / "link.sql").symlink_to("/etc/hostname")
    (workspace / "out").symlink_to("/etc")
    with pytest.raises(AgentFailed) as failure:
        sql.copy_migrations(folder, workspace=workspace, migrations_dir=tmp_path / "out")
    assert sentence in str(failure.value)
