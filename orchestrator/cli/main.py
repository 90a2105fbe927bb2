"""The command `forkyard`: its groups, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated

import click
import structlog
import typer

from orchestrator.cli import baseline, compare, decide, demo, experiment, inspect, maintain, project, setup, stack
from orchestrator.cli.output import call, err
from orchestrator.errors import ForkyardError
from orchestrator.secrets import redact

app = typer.Typer(
    name="forkyard",
    help="A database fork for every agent, a merge for every good one, and nothing left behind.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _options(
    config: Annotated[
        str | None, typer.Option("--config", help="The forkyard.toml to use (default: the nearest one upwards).")
    ] = None,
) -> None:
    call.config = config


for group in (setup, stack, experiment, inspect, compare, decide, maintain, demo):
    group.add_to(app)
app.add_typer(project.app, name="project")
app.add_typer(baseline.app, name="baseline")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. 0: well; 1: a run failed or something broke; 2: the user's mistake; 130: interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        result = app(words, standalone_mode=False)
    except ForkyardError as exc:
        _say(redact(str(exc)), "--json" in words)
        return exc.exit_code
    except click.exceptions.Abort:
        return 130
    except click.ClickException as exc:
        _say(exc.format_message(), "--json" in words)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    return result if isinstance(result, int) else 0


def _say(message: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"error": message}, ensure_ascii=False), err=True)
    else:
        err.print(f"forkyard: {message}", markup=False)
