"""The report of an experiment: one HTML file that needs nothing else, no network and no scripts.

All text may come from agents, so the template escapes everything and the page's own policy forbids loading
anything. The same data gives the same file, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.experiments.compare import Comparison, RunResult, Spread, compare, number, variant_order
from orchestrator.experiments.criteria import Criterion
from orchestrator.experiments.plots import PALETTE_SIZE, Dot, draw, missing_extra
from orchestrator.runs import RunState

_TEMPLATE = Path(__file__).with_name("report.html.j2")
MAX_PLOTS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLine:
    """One try of one migration: which fixer wrote it, and the database's answer (empty where it ran)."""

    migration: str
    number: int
    fixer: str
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLine:
    table: str
    inserted: int = 0
    updated: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptLine:
    """One kind of resource: how many were made, how many are gone, and what is left and why."""

    kind: str
    created: int
    released: int
    left: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """Everything that a report shows. Runs in the plan's order; no secret may be in any text."""

    experiment: str
    project: str
    task: str = ""
    promote: str
    best_by: Sequence[str] = ()
    baseline_version: int | None = None
    baseline_label: str = ""
    fingerprint: str | None = None
    submitted_at: datetime | None = None
    finished_at: datetime | None = None
    results: Sequence[RunResult]
    agents: Mapping[str, str] = field(default_factory=dict)
    """Each variant's agent in one line."""
    attempts: Mapping[str, Sequence[AttemptLine]] = field(default_factory=dict)
    """By run id."""
    tables: Mapping[str, Sequence[TableLine]] = field(default_factory=dict)
    """By run id."""
    receipt: Sequence[ReceiptLine] = ()
    notes: Sequence[str] = ()
    """What a reader must know, such as "no language model is configured: rules only"."""
    reason: str = ""
    """Why the summary chose as it did; else the reasons of the merged runs are shown."""


def render(report: ReportData) -> str:
    """The whole page. Raises SettingsError where jinja2 or matplotlib is not installed."""
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError as exc:
        raise missing_extra("jinja2") from exc
    comparison = compare(report.results, report.best_by)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=number, when=_when, length_of_time=_length_of_time, spread=_spread_words)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    criteria = [Criterion.parse(text) for text in report.best_by]
    page = template.render(
        report=report,
        comparison=comparison,
        headline=_headline(report),
        criteria=criteria,
        directions={c.metric: "lower is better" if c.lower_is_better else "higher is better" for c in criteria},
        plots=[(title, Markup(svg)) for title, svg in _plots(report, comparison)],
        winners=_merged(report),
        series={name: index % PALETTE_SIZE for index, name in enumerate(variant_order(report.results))},
        leading=_leading(comparison, criteria),
        clean=all(not line.left and line.released >= line.created for line in report.receipt),
    )
    return _storable(page)


def _merged(report: ReportData) -> list[RunResult]:
    return [run for run in report.results if run.state is RunState.MERGED]


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    tone: str
    title: str
    reason: str


def _headline(report: ReportData) -> Headline:
    merged = _merged(report)
    if merged:
        names = ", ".join(run.run_id for run in merged[:3]) + (
            f" and {len(merged) - 3} more" if len(merged) > 3 else ""
        )
        reasons = "; ".join(dict.fromkeys(run.reason for run in merged[:3] if run.reason))
        return Headline(tone="good", title=f"Merged {names}", reason=report.reason or reasons)
    waiting = [run for run in report.results if run.state in (RunState.HELD, RunState.CANDIDATE)]
    if waiting:
        return Headline(tone="wait", title=f"{_runs(len(waiting))} waiting for a verdict", reason=report.reason)
    reason = report.reason or ("nothing was to be merged" if report.promote == "none" else "no run passed")
    return Headline(tone="none", title="Nothing was merged", reason=reason)


def _runs(count: int) -> str:
    return "1 run is" if count == 1 else f"{count} runs are"


def _leading(comparison: Comparison, criteria: Sequence[Criterion]) -> dict[str, float]:
    """The best median of each deciding metric, to be marked in the table."""
    leading: dict[str, float] = {}
    for criterion in criteria:
        spreads = [row.metrics.get(criterion.metric) for row in comparison.rows]
        medians = [spread.median for spread in spreads if spread is not None]
        if medians:
            leading[criterion.metric] = min(medians) if criterion.lower_is_better else max(medians)
    return leading


def _plots(report: ReportData, comparison: Comparison) -> list[tuple[str, str]]:
    if not comparison.comparable:
        return []
    values: dict[str, Callable[[RunResult], float | None]] = {}
    for name in comparison.metrics[:MAX_PLOTS]:
        values[name] = _reader(name)
    values["agent's time (seconds)"] = _reader("duration_seconds")
    values["fix attempts"] = _reader("fix_attempts")
    plots = []
    for position, (title, read) in enumerate(values.items()):
        columns = _columns(report.results, read)
        if any(columns.values()):
            plots.append((title, draw(f"p{position}", columns, title=title)))
    return plots


def _reader(name: str) -> Callable[[RunResult], float | None]:
    return lambda run: run.value(name)


def _columns(results: Sequence[RunResult], read: Callable[[RunResult], float | None]) -> dict[str, list[Dot]]:
    columns: dict[str, list[Dot]] = {}
    for run in results:
        dots = columns.setdefault(run.variant, [])
        value = read(run) if run.fingerprint else None
        if value is not None:
            label = f"{run.run_id}: {number(value)} ({run.state})"
            dots.append(Dot(value=value, label=label, winner=run.state is RunState.MERGED))
    return columns


def _when(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S %Z").strip() if moment else "–"


def _length_of_time(seconds: float | None) -> str:
    """`40 ms`, `1.4 s`, `2 min 5 s`, `1 h 3 min`."""
    if seconds is None:
        return "–"
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min {rest} s"


def _storable(page: str) -> str:
    """Without halves of surrogate pairs and control characters, which no HTML file may hold."""
    page = page.encode("utf-8", "replace").decode("utf-8")
    return "".join(char for char in page if char >= " " or char in "\n\t")


def _spread_words(spread: Spread | None) -> dict[str, Any] | None:
    """A spread for the template: its median, and its ends where they differ."""
    if spread is None:
        return None
    ends = f"{number(spread.low)} … {number(spread.high)}" if spread.low != spread.high else ""
    return {"median": number(spread.median), "ends": ends, "count": spread.count}
