"""Plots as inline SVG: one column per variant, one dot per run, a bar at the median.

Colours are written as CSS variables, so that the page decides between light and dark. matplotlib is imported
when the first plot is drawn.
"""

from __future__ import annotations

import io
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from orchestrator.errors import SettingsError

PALETTE_SIZE = 8
MANY_DOTS = 120
_INK, _MUTED, _GRID = "#010203", "#040506", "#070809"
_SERIES = tuple(f"#0a0b{index:02x}" for index in range(PALETTE_SIZE))
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--grid)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(_SERIES)},
}
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "forkyard",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": _GRID,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "text.color": _INK,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One run's value; `label` is shown when the pointer rests on it; `winner` gets a ring."""

    value: float
    label: str
    winner: bool = False


def draw(key: str, columns: Mapping[str, Sequence[Dot]], *, title: str) -> str:
    """An `<svg>` element. `key` keeps the ids of several plots on one page apart; equal input gives equal text.

    Raises SettingsError where matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise missing_extra("matplotlib") from exc
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(max(3.6, 0.8 * len(columns) + 0.8), 2.5), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        labels = _dots(axes, columns)
        _furnish(axes, list(columns))
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(stream.getvalue(), key=key, title=title, labels=labels)


def missing_extra(package: str) -> SettingsError:
    return SettingsError(f"the report needs {package}, which is not installed: pip install 'forkyard[report]'")


def _dots(axes: Any, columns: Mapping[str, Sequence[Dot]]) -> dict[str, str]:
    """Draws all columns; returns the label of each dot by its id in the SVG. Where there are many, only winners get
    a label: hundreds of single elements would make a page of megabytes."""
    many = sum(len(dots) for dots in columns.values()) > MANY_DOTS
    labels: dict[str, str] = {}
    for column, dots in enumerate(columns.values()):
        colour = _SERIES[column % PALETTE_SIZE]
        if dots:
            middle = statistics.median(dot.value for dot in dots)
            axes.plot([column - 0.26, column + 0.26], [middle, middle], color=colour, linewidth=2.5, alpha=0.45)
        places = [column + _offset(position, len(dots)) for position in range(len(dots))]
        if many:
            axes.plot(places, [dot.value for dot in dots], "o", markersize=4, color=colour, alpha=0.6, zorder=3)
        for place, dot in zip(places, dots, strict=True):
            if many and not dot.winner:
                continue
            name = f"dot-{len(labels)}"
            labels[name] = dot.label
            _labelled_dot(axes, place, dot, colour=colour, gid=name)
    return labels


def _labelled_dot(axes: Any, place: float, dot: Dot, *, colour: str, gid: str) -> None:
    axes.plot(
        [place],
        [dot.value],
        marker="o",
        markersize=8 if dot.winner else 6.5,
        color=colour,
        markeredgecolor=_INK if dot.winner else colour,
        markeredgewidth=1.8 if dot.winner else 0.5,
        gid=gid,
        zorder=4 if dot.winner else 3,
    )


def _offset(position: int, count: int) -> float:
    """Spreads the dots of a column sideways, so that equal values do not hide each other."""
    return 0.0 if count < 2 else (position / (count - 1) - 0.5) * 0.34


def _furnish(axes: Any, names: Sequence[str]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    values = [float(value) for line in axes.lines for value in line.get_ydata()]
    whole = all(value == int(value) for value in values)
    if min(values, default=0.0) >= 0:
        top = max([1.0 if whole else 1e-9, *values])
        axes.set_ylim(-0.06 * top, top * 1.1)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_xticks(range(len(names)), names, rotation=30 if len(names) > 6 else 0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=whole, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(_tick))
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _tick(value: float, _position: object) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.3g}"


def _inline(svg: str, *, key: str, title: str, labels: Mapping[str, str]) -> str:
    """The file as an element of a page: no prolog, no fixed size, ids of its own, a tool tip on every dot."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r'(?<= id=")(?!dot-)', f"{key}-", svg)
    svg = re.sub(r'(?<=href="#)|(?<=url\(#)', f"{key}-", svg)
    for name, label in labels.items():
        svg = svg.replace(f'<g id="{name}">', f'<g id="{key}-{name}"><title>{escape(label)}</title>')
    svg = re.sub(r'\s(?:width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1).strip()
