from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.agents import callable as callable_agent
from orchestrator.agents.base import AgentOutcome
from orchestrator.agents.result import read_result

Run = Callable[..., AgentOutcome]


@pytest.fixture
def call(run: Run, workspace: Path) -> Callable[..., AgentOutcome]:
    def start(source: str, target: str = "agents:quick") -> AgentOutcome:
        (workspace / "agents.py").write_text(source)
        return run("", argv=callable_agent.argv(target))

    return start


def test_a_function_gets_its_environment_and_its_dictionary_becomes_metrics(
    call: Run, workspace: Path, log: Path
) -> None:
    outcome = call(
        "import os\n"
        "def quick(env):\n"
        "    print(env.database_url, env.seed, env.workspace == env.migrations_dir.parent, os.getcwd())\n"
        "    env.report(first=1)\n"
        "    env.note('went well')\n"
        "    return {'second': 2.5}\n"
    )
    assert outcome.exit_code == 0, log.read_text()
    assert log.read_text() == f"postgresql://u:***@h/d 1 True {workspace}\n"
    result = read_result(workspace / "result.json")
    assert result.metrics == {"first": 1.0, "second": 2.5}
    assert result.notes == "went well"


def test_an_exception_leaves_a_traceback_of_the_agents_own_code(call: Run, workspace: Path, log: Path) -> None:
    outcome = call("def quick(env):\n    env.report(tried=1)\n    raise LookupError('no such customer')\n")
    assert outcome.exit_code == 1
    text = log.read_text()
    assert "LookupError: no such customer" in text
    assert 'agents.py", line 3, in quick' in text
    assert "call.py" not in text
    assert read_result(workspace / "result.json").metrics == {"tried": 1.0}


def test_a_coroutine_function_is_awaited(call: Run, workspace: Path) -> None:
    source = "import asyncio\nasync def quick(env):\n    await asyncio.sleep(0)\n    return {'score': 1}\n"
    assert call(source).exit_code == 0
    assert read_result(workspace / "result.json").metrics == {"score": 1.0}


def test_a_method_of_a_class_can_be_named(call: Run) -> None:
    assert call("class A:\n    class B:\n        def run(env): pass\n", "agents:A.B.run").exit_code == 0


def test_nothing_in_the_workspace_stands_in_for_forkyard(call: Run, workspace: Path, log: Path) -> None:
    for name in ("orchestrator", "asyncio", "inspect", "traceback", "base", "command", "process", "result"):
        (workspace / f"{name}.py").write_text("raise SystemExit('shadowed')\n")
    assert call("import sys\ndef quick(env):\n    print(sys.path[0])\n").exit_code == 0
    assert log.read_text() == f"{workspace}\n"


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("", "agents:absent", "has no attribute 'absent'"),
        ("", "absent:quick", "No module named 'absent'"),
        ("quick = 3", "agents:quick", "agents:quick is not callable"),
        ("def quick(env): return 3", "agents:quick", "agents:quick returned int, not a dictionary"),
        ("def quick(env): return {'score': 'high'}", "agents:quick", "the metric 'score' is 'high'"),
        ("def quick(): pass", "agents:quick", "takes 0 positional arguments"),
        ("def quick(env: pass", "agents:quick", "SyntaxError"),
    ],
)
def test_a_mistake_in_the_agent_is_told_in_its_log(
    call: Run, log: Path, source: str, target: str, message: str
) -> None:
    assert call(source, target).exit_code == 1
    assert message in log.read_text()


def test_an_agent_may_exit_with_its_own_code(call: Run) -> None:
    assert call("import sys\ndef quick(env): sys.exit(9)\n").exit_code == 9
