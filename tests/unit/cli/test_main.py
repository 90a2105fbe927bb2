"""The command line's manners: help with an example, one sentence for a mistake, an exit code that scripts can use."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer

from orchestrator.cli import main
from orchestrator.cli.experiment import exit_code
from orchestrator.cli.main import MODULES, build
from orchestrator.cli.output import call, seconds, shown
from orchestrator.errors import AgentFailed, ForkyardError, NotFound, RegistryUnavailable, SpecError
from orchestrator.settings import process_environment


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command as (its words, itself)."""
    for name, command in group.commands.items():
        words = (*path, name)
        if hasattr(command, "commands"):
            yield from commands(command, words)
        else:
            yield words, command


ALL = dict(commands(typer.main.get_command(build([]))))
SECRET = "postgresql://me:hunter2@h/d"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No configuration of this machine, and no trace in the next test."""
    for name in process_environment():
        if name.startswith("FORKYARD_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(call, "config", None)
    level = logging.getLogger("psycopg.pool").level
    yield
    structlog.reset_defaults()
    logging.getLogger("psycopg.pool").setLevel(level)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """`run("status", "--json")` gives (exit code, standard output, standard error)."""

    def act(*words: str) -> tuple[int, str, str]:
        code = main(words)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return act


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`broken(error)`: whatever command is asked for raises it as soon as it reads its settings."""

    def install(error: BaseException) -> None:
        def fail(self: object) -> None:
            raise error

        monkeypatch.setattr(type(call), "settings", fail)

    return install


def test_every_command_of_the_table_exists_and_no_other() -> None:
    assert {words[0] for words in ALL} == {name for names in MODULES.values() for name in names}


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_has_help_with_an_example_of_itself(run: Any, words: tuple[str, ...]) -> None:
    code, out, err = run(*words, "--help")
    assert (code, err) == (0, "")
    assert f"Example: forkyard {' '.join(words)}" in " ".join(out.split())


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_can_answer_in_json(words: tuple[str, ...]) -> None:
    options = {option for parameter in ALL[words].params for option in parameter.opts}
    assert "--json" in options or words == ("demo",)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_option_says_what_it_is_for(words: tuple[str, ...]) -> None:
    undescribed = [p.name for p in ALL[words].params if p.param_type_name == "option" and not p.help]
    assert undescribed == []


def test_help_names_every_command(run: Any) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert [words[0] for words in ALL if words[0] not in out] == []


@pytest.mark.parametrize(
    "words",
    [
        ("statsu",),
        ("status", "--limitt", "3"),
        ("status", "--limit", "many"),
        ("status", "--limit", "0"),
        ("run",),
        ("project", "add", "shop"),
        ("baseline", "release", "shop", "first"),
        ("--config",),
        ("status", "too", "much"),
    ],
    ids=" ".join,
)
def test_a_typing_error_is_one_sentence_and_exit_code_2(run: Any, words: Sequence[str]) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("forkyard: ")
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


def test_a_word_that_is_almost_a_command_gets_a_suggestion(run: Any) -> None:
    assert "status" in run("statsu")[2]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("There is no run 'x'."), 2),
        (SpecError("unknown key 'x'", file="a.yaml", line=3), 2),
        (RegistryUnavailable(), 2),
        (AgentFailed("It exited with code 3."), 1),
        (ForkyardError(), 1),
        (KeyboardInterrupt(), 130),
        (typer.Abort(), 130),
        (BrokenPipeError(), 0),
    ],
)
def test_every_kind_of_error_has_its_exit_code_and_at_most_one_sentence(
    run: Any, broken: Any, error: BaseException, code: int
) -> None:
    broken(error)
    found, out, err = run("status")
    assert (found, out) == (code, "")
    said = f"forkyard: {error}\n" if isinstance(error, ForkyardError) else ""
    assert err == said


def test_an_error_of_ours_that_nobody_thought_of_is_not_hidden(broken: Any) -> None:
    broken(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["status"])


@pytest.mark.parametrize(
    "words", [("status",), ("watch", "x"), ("project", "list"), ("ps",), ("doctor",)], ids=" ".join
)
def test_with_json_an_error_is_one_document_on_standard_error(run: Any, words: Sequence[str]) -> None:
    code, out, err = run("--config", "/nowhere/forkyard.toml", *words, "--json")
    assert (code, out) == (2, "")
    assert "/nowhere/forkyard.toml" in json.loads(err)["error"]


def test_with_json_a_typing_error_is_a_document_too(run: Any) -> None:
    code, _, err = run("status", "--limitt", "--json")
    assert code == 2
    assert "--limitt" in json.loads(err)["error"]


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_no_error_shows_a_password(run: Any, broken: Any, more: Sequence[str]) -> None:
    broken(ForkyardError(f"Cannot reach {SECRET}."))
    _, _, err = run("status", *more)
    assert "postgresql://me:***@h/d" in err


def test_a_wide_message_is_not_wrapped(run: Any, broken: Any) -> None:
    broken(ForkyardError("x" * 500 + " [bold]not markup[/bold]"))
    assert run("status")[2] == f"forkyard: {'x' * 500} [bold]not markup[/bold]\n"


def test_a_registry_that_does_not_answer_is_a_sentence(run: Any, tmp_path: Path) -> None:
    config = tmp_path / "forkyard.toml"
    config.write_text('[registry]\nurl = "postgresql://me:hunter2@127.0.0.1:1/forkyard"')
    code, out, err = run("--config", str(config), "status")
    assert (code, out) == (2, "")
    assert err.startswith("forkyard: The registry cannot be reached: ")
    assert "hunter2" not in err


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1), ("text", 0)])
def test_what_a_command_returns_is_the_exit_code(monkeypatch: pytest.MonkeyPatch, returned: object, code: int) -> None:
    # By the table of modules: the package's attribute `main` is the function.
    monkeypatch.setattr(sys.modules["orchestrator.cli.main"], "build", lambda _: lambda *_, **__: returned)
    assert main(["anything"]) == code


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (["merged", "discarded"], 0),
        (["discarded", "discarded"], 0),
        (["held"], 0),
        (["merged", "failed"], 1),
        (["cancelled"], 1),
        ([], 0),
    ],
)
def test_an_experiment_with_a_run_that_failed_exits_with_1(states: list[str], code: int) -> None:
    assert exit_code({"runs": [{"state": state} for state in states]}) == code


def test_only_the_module_of_the_command_that_is_asked_for_is_loaded() -> None:
    assert [words for words, _ in commands(typer.main.get_command(build(["doctor"])))] == [("sweep",), ("doctor",)]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.5, "0.5"), (3.0, "3"), (True, "True"), ("", ""), (1234567, "1234567")]
)
def test_cells_show_values_briefly(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.04, "0.0 s"), (119.94, "119.9 s"), (150, "2.5 min")])
def test_durations_are_shown_in_seconds_or_minutes(value: float | None, text: str) -> None:
    assert seconds(value) == text
