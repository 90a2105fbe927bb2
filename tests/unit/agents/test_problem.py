from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import errors
from orchestrator.agents.base import AgentOutcome, AgentRequest, EndedBy, problem

REQUEST = AgentRequest(
    run_id="clean/careful#2",
    argv=("agent",),
    environment={},
    workspace=Path("/workspace"),
    log_path=Path("/log"),
    timeout_seconds=90,
    log_limit_bytes=1,
    workspace_limit_bytes=5_000_000,
    process_limit=20,
)


def outcome(ended_by: EndedBy, exit_code: int = -9) -> AgentOutcome:
    return AgentOutcome(exit_code=exit_code, duration_seconds=1.0, log_bytes=0, log_truncated=False, ended_by=ended_by)


def test_an_agent_that_did_well_is_no_problem() -> None:
    assert problem(outcome("exit", 0), REQUEST) is None


@pytest.mark.parametrize(
    ("ended", "error", "sentence"),
    [
        (outcome("exit", 3), errors.AgentFailed, "exited with code 3"),
        (outcome("exit", -11), errors.AgentFailed, "ended by SIGSEGV"),
        (outcome("exit", -99), errors.AgentFailed, "ended by signal 99"),
        (outcome("timeout", 0), errors.AgentTimeout, "after 90 s"),
        (outcome("cancel"), errors.Cancelled, "cancelled"),
        (outcome("workspace"), errors.AgentOverLimit, "more than 5 MB"),
        (outcome("processes"), errors.AgentOverLimit, "more than 20 processes"),
        (outcome("interrupted"), errors.AgentInterrupted, "killed from outside"),
    ],
)
def test_every_other_end_has_its_error_and_its_sentence(
    ended: AgentOutcome, error: type[errors.ForkyardError], sentence: str
) -> None:
    found = problem(ended, REQUEST)
    assert type(found) is error
    assert sentence in str(found)
    assert found.context["run"] == "clean/careful#2"
