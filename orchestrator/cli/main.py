"""The command `forkyard`: its groups, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from orchestrator.cli.output import call, err
from orchestrator.errors import ForkyardError
from orchestrator.logs import configure_console
from orchestrator.secrets import redact

MODULES = {
    "setup": ("init", "upgrade"),
    "stack": ("up", "down", "ps"),
    "project": ("project",),
    "baseline": ("baseline",),
    "experiment": ("run", "submit", "watch"),
    "inspect": ("status", "show", "logs", "receipt"),
    "compare": ("diff", "compare", "report"),
    "decide": ("promote", "discard", "cancel"),
    "maintain": ("sweep", "doctor"),
    "demo": ("demo",),
}
"""Which module of this package holds which commands; only the one that is asked for is loaded."""


def build(words: Sequence[str]) -> typer.Typer:
    """The application with the command that `words` name, or with all of them (for `--help` and typing errors)."""
    app = typer.Typer(
        name="forkyard",
        help="A database fork for every agent, a merge for every good one, and nothing left behind.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    named = [module for module, commands in MODULES.items() if any(command in words for command in commands)]
    for name in named if len(named) == 1 else MODULES:
        import_module(f"orchestrator.cli.{name}").add_to(app)
    return app


def _options(
    config: Annotated[
        str | None, typer.Option("--config", help="The forkyard.toml to use (default: the nearest one upwards).")
    ] = None,
) -> None:
    call.config = config


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. 0: well; 1: a run failed or something broke; 2: the user's mistake; 130: interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    configure_console()
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # the exception says it
    try:
        result = build(words)(words, standalone_mode=False)
    except ForkyardError as exc:
        _say(redact(str(exc)), "--json" in words)
        return exc.exit_code
    except typer.Abort:
        return 130
    except typer.TyperException as exc:
        _say(_usage(exc), "--json" in words)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    return result if isinstance(result, int) else 0


def _usage(exc: typer.TyperException) -> str:
    message = exc.format_message() if hasattr(exc, "format_message") else str(exc)
    return f"{message if message.endswith('?') else message.rstrip('.') + '.'} See `forkyard --help`."


def _say(message: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"error": message}, ensure_ascii=False), err=True)
    else:
        err.print(f"forkyard: {message}", markup=False)
