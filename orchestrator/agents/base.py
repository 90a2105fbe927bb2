"""What is asked of an agent's process, what came of it, and the sentence that tells a person why it failed."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from orchestrator.errors import (
    AgentError,
    AgentFailed,
    AgentInterrupted,
    AgentOverLimit,
    AgentTimeout,
    Cancelled,
)

EndedBy = Literal["exit", "timeout", "cancel", "workspace", "processes", "interrupted"]
"""`exit`: by itself. `workspace`, `processes`: over that limit. `interrupted`: its supervisor was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRequest:
    """One agent to run as a process. `environment` is all that it gets; `workspace` is its current folder."""

    run_id: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    workspace: Path
    log_path: Path
    timeout_seconds: float
    log_limit_bytes: int
    workspace_limit_bytes: int
    process_limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOutcome:
    """How it ended. `exit_code` is negative for a signal; `log_bytes` is the size of the log file."""

    exit_code: int
    duration_seconds: float
    log_bytes: int
    log_truncated: bool
    ended_by: EndedBy


def problem(outcome: AgentOutcome, request: AgentRequest) -> AgentError | Cancelled | None:
    """The error that an outcome stands for, with a sentence for a person; None where the agent did well."""
    match outcome.ended_by:
        case "exit":
            return _failure(outcome.exit_code, request)
        case "timeout":
            return AgentTimeout(
                f"The agent was ended after {request.timeout_seconds:g} s, its time limit; "
                "raise `timeout` in the experiment if it needs longer.",
                run=request.run_id,
            )
        case "cancel":
            return Cancelled("The run was cancelled while its agent ran.", run=request.run_id)
        case "workspace":
            return AgentOverLimit(
                f"The agent wrote more than {_megabytes(request.workspace_limit_bytes)} into its workspace.",
                run=request.run_id,
            )
        case "processes":
            return AgentOverLimit(
                f"The agent started more than {request.process_limit} processes at once.", run=request.run_id
            )
        case "interrupted":
            return AgentInterrupted(
                "The agent's supervisor was killed from outside, and the agent with it; run it again.",
                run=request.run_id,
            )
        case never:
            assert_never(never)


def _failure(exit_code: int, request: AgentRequest) -> AgentFailed | None:
    if exit_code == 0:
        return None
    if exit_code > 0:
        sentence = f"The agent exited with code {exit_code}; its last lines of log say why."
    else:
        sentence = f"The agent was ended by {_signal_name(-exit_code)}."
    return AgentFailed(sentence, run=request.run_id, exit_code=exit_code)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _megabytes(limit: int) -> str:
    return f"{limit / 1_000_000:g} MB" if limit >= 100_000 else f"{limit} bytes"
