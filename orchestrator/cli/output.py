"""What commands share: where text goes, tables, `--json`, and the context of one call."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.app import open_context
from orchestrator.settings import Settings, load
from orchestrator.steps.context import Context
from orchestrator.store import connect_once

WIDTH = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else 180
"""Into a file or a pipe, lines may be long; wrapped cells are what nobody can grep."""

out = Console(highlight=False, soft_wrap=True, width=WIDTH)
screen = Console(highlight=False, width=WIDTH)
"""For what is redrawn: soft wrapping would make it lose count of its lines."""
err = Console(stderr=True, highlight=False, soft_wrap=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

STYLES = {
    "merged": "bold green",
    "candidate": "cyan",
    "held": "yellow",
    "discarded": "dim",
    "failed": "red",
    "cancelled": "magenta",
}


class Call:
    """Options that stand before the command's name, and the context they lead to."""

    def __init__(self) -> None:
        self.config: str | None = None

    def settings(self) -> Settings:
        from pathlib import Path

        return load(Path(self.config) if self.config else None)

    @contextmanager
    def context(self) -> Iterator[Context]:
        settings = self.settings()
        connect_once(settings.registry.conninfo())
        context = open_context(settings)
        try:
            yield context
        finally:
            context.store.close()


call = Call()


def emit(data: Any, as_json: bool, render: Callable[[Any], None]) -> None:
    """Print `data` as JSON, or let `render` print it for people."""
    if as_json:
        typer.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))
    else:
        render(data)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None) -> Table:
    """A plain table; None shows as a dash."""
    made = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(shown(cell)) for cell in row))
    return made


def shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def state_text(state: str) -> Text:
    return Text(state, style=STYLES.get(state, "blue"))


def seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"
