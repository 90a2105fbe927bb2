"""Call one Python function as an agent: the program that the process of a callable agent runs.

The function gets an `Environment`. A dictionary that it returns counts as reported metrics; an exception is written
to the agent's log, and the exit code is then 1.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path


def main(target: str, variables: dict[str, str]) -> int:
    """Import `module:function`, the workspace first, call it, and give the exit code."""
    if importlib.util.find_spec("orchestrator") is None:  # run from a source tree that is not installed
        sys.path.append(str(Path(__file__).resolve().parents[2]))
    from orchestrator.agents.environment import Environment
    from orchestrator.errors import ForkyardError

    sys.path.insert(0, str(Path.cwd()))
    try:
        function = _load(target)
        environment = Environment.from_variables(variables)
        returned = function(environment)
        if inspect.iscoroutine(returned):
            returned = asyncio.run(returned)
        if isinstance(returned, dict):
            environment.report(**returned)
        elif returned is not None:
            raise TypeError(f"{target} returned {type(returned).__name__}, not a dictionary of metrics or None")
    except ForkyardError as exc:
        print(exc, file=sys.stderr)  # noqa: T201
        return 1
    except Exception as exc:
        _print_traceback(exc)
        return 1
    return 0


def _load(target: str) -> Callable[..., object]:
    module_name, _, path = target.partition(":")
    found: object = importlib.import_module(module_name)
    for name in path.split("."):
        found = getattr(found, name)
    if not callable(found):
        raise TypeError(f"{target} is not callable")
    return found


def _print_traceback(exc: BaseException) -> None:
    """The traceback from the agent's own code on, without the frames of this file."""
    frame = exc.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename == __file__ and frame.tb_next is not None:
        frame = frame.tb_next
    traceback.print_exception(exc.with_traceback(frame))


if __name__ == "__main__":
    import os

    sys.exit(main(sys.argv[1], dict(os.environ)))
