"""A user at the command line who stays: the commands' own functions in one process, one JSON line each way.

A process of its own, because Celery's state is global and other tests of the session have their own broker; one that
stays, because starting Python for every command would take longer than the tests.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.app import decide, open_context
from orchestrator.app.submit import submit
from orchestrator.errors import ForkyardError, QueueUnavailable, RegistryUnavailable
from orchestrator.maintenance import SWEEPS, run_sweep
from orchestrator.settings import load
from orchestrator.steps.context import Context
from workers.canvas import run_chain
from workers.tasks import STEP_TASKS, cleanup


def _submit(context: Context, path: str, only: str) -> str:
    submitted = submit(context, Path(path), only=[only] if only else [])
    assert not submitted.warning
    return submitted.experiment.handle


def _sweep(context: Context) -> list[str]:
    """What `forkyard sweep` does."""
    return [
        f"{f.kind} {f.name}: {f.action}"
        for name, sweep in SWEEPS.items()
        for f in run_sweep(context, name, sweep) or ()
    ]


def _decide(act: Callable[..., Any]) -> Callable[[Context, str], None]:
    def decided(context: Context, run_id: str) -> None:
        act(context, run_id)

    return decided


def _cancel(context: Context, handle: str) -> None:
    decide.cancel_experiment(context, context.store.experiments.by_handle(handle))


def _repeat(context: Context, handle: str) -> int:
    """Send every message of the experiment again: the chord, the chains, each step by itself, error callbacks."""
    experiment = context.store.experiments.by_handle(handle)
    runs = [run.id for run in context.store.runs.of_experiment(experiment.id)]
    context.dispatcher.start(experiment.id, runs)
    for run_id in runs:
        run_chain(run_id).apply_async()
        for task in STEP_TASKS:
            task.si(run_id).apply_async()
        cleanup.si(run_id).set(queue="gc").apply_async()
    context.dispatcher.summarise(experiment.id)
    return len(runs) * (2 * len(STEP_TASKS) + len(STEP_TASKS) + 1) + 1


COMMANDS: dict[str, Callable[..., Any]] = {
    "submit": _submit,
    "sweep": _sweep,
    "cancel": _cancel,
    "discard": _decide(decide.discard),
    "promote": _decide(decide.promote),
    "repeat": _repeat,
}


def _patiently(command: Callable[..., Any], *arguments: Any) -> Any:
    """A user whose command finds the registry or the broker away gives it again."""
    for seconds in (0.1, 0.3, 1, 2):
        try:
            return command(*arguments)
        except (RegistryUnavailable, QueueUnavailable):
            time.sleep(seconds)
    return command(*arguments)


def main() -> None:
    context = open_context(load())
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        context.settings = load()
        try:
            answer = {"value": _patiently(COMMANDS[name], context, *arguments)}
        except ForkyardError as exc:
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
