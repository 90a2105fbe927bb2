from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents.environment import Environment, agent_environment
from orchestrator.agents.result import read_result
from orchestrator.errors import AgentError, SettingsError


def variables(workspace: Path, **changes: Any) -> dict[str, str]:
    arguments: dict[str, Any] = {
        "run_id": "clean/careful#2",
        "database_url": "postgresql://u:p@h/d",
        "task": "Clean it",
        "parameters": {"threshold": 0.9},
        "seed": 7,
        "workspace": workspace,
        "migrations_dir": workspace / "migrations",
        "result_path": workspace / "result.json",
        "worker": {"PATH": "/bin", "LANG": "de_DE.UTF-8", "FORKYARD_KEY": "secret", "AWS_SECRET": "x", "MODEL": "m"},
    }
    return agent_environment(**(arguments | changes))


def test_an_agent_gets_exactly_the_variables_of_its_run(tmp_path: Path) -> None:
    assert variables(tmp_path) == {
        "PATH": "/bin",
        "LANG": "de_DE.UTF-8",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path / "tmp"),
        "DATABASE_URL": "postgresql://u:p@h/d",
        "FORKYARD_RUN_ID": "clean/careful#2",
        "FORKYARD_TASK": json.dumps({"task": "Clean it", "parameters": {"threshold": 0.9}, "seed": 7}),
        "FORKYARD_MIGRATIONS_DIR": str(tmp_path / "migrations"),
        "FORKYARD_RESULT": str(tmp_path / "result.json"),
    }
    assert (tmp_path / "tmp").is_dir()


def test_a_variant_adds_values_and_passes_on_the_workers_by_name(tmp_path: Path) -> None:
    got = variables(tmp_path, extra={"MODE": "fast", "OPENAI_MODEL": {"env": "MODEL"}})
    assert (got["MODE"], got["OPENAI_MODEL"]) == ("fast", "m")
    assert "MODEL" not in got


def test_side_resources_and_gateway_are_passed_where_they_exist(tmp_path: Path) -> None:
    got = variables(tmp_path, redis_url="redis://r", gateway=("http://g", "token"))
    assert (got["REDIS_URL"], got["FORKYARD_GATEWAY"], got["FORKYARD_GATEWAY_TOKEN"]) == (
        "redis://r",
        "http://g",
        "token",
    )


def test_a_variable_that_the_worker_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'MISSING' as KEY"):
        variables(tmp_path, extra={"KEY": {"env": "MISSING"}})


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "FORKYARD_RUN_ID", "FORKYARD_NEW"])
def test_a_variant_cannot_set_what_is_forkyards(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        variables(tmp_path, extra={name: "x"})


@pytest.mark.parametrize("name", ["", "A=B", "A\0B"])
def test_a_variable_that_no_program_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError):
        variables(tmp_path, extra={name: "x"})


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.chdir(tmp_path)
    return Environment.from_variables(variables(tmp_path, redis_url="redis://r"))


def test_the_object_gives_back_what_the_variables_hold(environment: Environment, tmp_path: Path) -> None:
    assert environment.task == "Clean it"
    assert environment.parameters == {"threshold": 0.9}
    assert environment.seed == 7
    assert environment.database_url == "postgresql://u:p@h/d"
    assert environment.redis_url == "redis://r"
    assert environment.workspace == tmp_path
    assert environment.migrations_dir == tmp_path / "migrations"


def test_the_object_does_not_show_its_urls(environment: Environment) -> None:
    assert "://" not in repr(environment)


def test_reports_add_up_in_the_result_file(environment: Environment) -> None:
    environment.report(score=1, loss=2.5)
    environment.report(score=3)
    environment.note("first")
    environment.note("second")
    result = read_result(environment.result_path)
    assert result.metrics == {"score": 3.0, "loss": 2.5}
    assert result.notes == "first\nsecond"


@pytest.mark.parametrize(("value", "error"), [("high", TypeError), (True, TypeError), (float("nan"), ValueError)])
def test_a_metric_that_is_no_number_is_refused(environment: Environment, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="score"):
        environment.report(score=value)
    assert not environment.result_path.exists()


def test_outside_of_a_run_there_is_no_environment() -> None:
    with pytest.raises(AgentError, match="FORKYARD_TASK is not set"):
        Environment.from_variables({})
