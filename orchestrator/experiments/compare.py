"""What the runs of an experiment say about its variants. Pure: values in, values out."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.experiments.criteria import Criterion
from orchestrator.runs import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One run as it stands now. `metrics` holds the declared metrics, `agent.<name>` and `changeset.<fact>`;
    None is a metric that could not be measured. `duration_seconds` is the agent's own time."""

    run_id: str
    variant: str
    repeat: int
    state: RunState
    reason: str = ""
    duration_seconds: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    checks: Mapping[str, bool] = field(default_factory=dict)
    fix_attempts: int = 0
    migrations: int = 0
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    baseline_version: int | None = None
    fingerprint: str | None = None

    @property
    def failed_checks(self) -> tuple[str, ...]:
        return tuple(name for name, ok in self.checks.items() if not ok)

    def value(self, metric: str) -> float | None:
        """The metric or fact of that name as a finite number, else None."""
        facts = {
            "duration_seconds": self.duration_seconds,
            "fix_attempts": self.fix_attempts,
            "migrations": self.migrations,
            "changeset.migrations": self.migrations,
            "changeset.rows.inserted": self.rows_inserted,
            "changeset.rows.updated": self.rows_updated,
            "changeset.rows.deleted": self.rows_deleted,
        }
        found = self.metrics.get(metric, facts.get(metric))
        return float(found) if found is not None and math.isfinite(found) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The middle and the ends of the values of one variant's runs; `count` runs had a value."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        known = [value for value in values if value is not None]
        if not known:
            return None
        return cls(median=statistics.median(known), low=min(known), high=max(known), count=len(known))


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRow:
    """One variant's line of the comparison. Spreads are empty where runs are not comparable."""

    variant: str
    runs: int
    states: Mapping[RunState, int]
    failed_checks: int
    metrics: Mapping[str, Spread | None]
    duration_seconds: Spread | None
    fix_attempts: Spread | None

    def count(self, *states: RunState) -> int:
        return sum(self.states.get(state, 0) for state in states)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`comparable` is False where runs started from different baselines; `note` then says which."""

    comparable: bool
    note: str
    metrics: tuple[str, ...]
    rows: tuple[VariantRow, ...]
    baseline_version: int | None
    fingerprint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The run to merge, or None, and why in words."""

    run_id: str | None
    reason: str


def compare(results: Sequence[RunResult], best_by: Sequence[str] = ()) -> Comparison:
    """One row per variant, best first where `best_by` decides, else in order of appearance.

    Runs that never got a fork carry no fingerprint: they are counted, and measured by nothing.
    """
    note = _difference(results)
    names = _metric_names(results, best_by)
    rows = [
        _row(variant, [run for run in results if run.variant == variant], names, comparable=not note)
        for variant in variant_order(results)
    ]
    if not note:
        criteria = [Criterion.parse(text) for text in best_by]
        rows.sort(key=lambda row: [_rank(_median(row, criterion), criterion) for criterion in criteria])
    first = next((run for run in results if run.fingerprint), None)
    return Comparison(
        comparable=not note,
        note=note,
        metrics=names,
        rows=tuple(rows),
        baseline_version=first.baseline_version if first and not note else None,
        fingerprint=first.fingerprint if first and not note else None,
    )


def best(results: Sequence[RunResult], best_by: Sequence[str]) -> Best:
    """The candidate that the criteria put first, in order; ties go to the lower repeat, then to the variant that
    appears first in `results`. Only runs in state candidate with every check true count. Deterministic."""
    difference = _difference(results)
    if difference:
        return Best(run_id=None, reason=difference)
    order = variant_order(results)
    left = sorted(
        (run for run in results if run.state is RunState.CANDIDATE and not run.failed_checks),
        key=lambda run: (run.repeat, order.index(run.variant)),
    )
    if not left:
        return Best(run_id=None, reason=f"no run can be merged: {_why_none(results)}")
    if len(left) == 1:
        values = [
            f"{name}: {number(left[0].value(name))}" for name in (Criterion.parse(text).metric for text in best_by)
        ]
        return Best(run_id=left[0].run_id, reason="; ".join(["the only candidate", *values]))
    left, reason = _narrow(left, [Criterion.parse(text) for text in best_by])
    return Best(run_id=left[0].run_id, reason=reason)


def _narrow(left: list[RunResult], criteria: Sequence[Criterion]) -> tuple[list[RunResult], str]:
    """Keep those that are best by each criterion in turn; says what decided."""
    said: list[str] = []
    level: list[str] = []
    for criterion in criteria:
        leading = min(_rank(run.value(criterion.metric), criterion) for run in left)
        kept = [run for run in left if _rank(run.value(criterion.metric), criterion) == leading]
        value = kept[0].value(criterion.metric)
        if value is None or (said and len(kept) == len(left)):
            level.append(criterion.metric)
            continue
        said += [f"level in {', '.join(level)}"] if level else []
        said.append(f"{'tie broken by ' + criterion.metric if said else criterion.words}: {number(value)}")
        level, left = [], kept
        if len(left) == 1:
            return left, "; ".join(said)
    others = _some([run.run_id for run in left[1:]])
    rule = "lower repeat" if left[0].repeat < left[1].repeat else "variant that comes first in the file"
    return left, "; ".join([*said, f"level with {others} in everything else, so the {rule} wins"])


def variant_order(results: Sequence[RunResult]) -> list[str]:
    return list(dict.fromkeys(run.variant for run in results))


def number(value: float | None) -> str:
    """A number for people: whole numbers with thin groups, others with four digits that matter."""
    if value is None:
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def _difference(results: Sequence[RunResult]) -> str:
    """Empty where all runs with a fork started from one fingerprint, else the sentence that says who differs."""
    starts: dict[str, list[RunResult]] = {}
    for run in results:
        if run.fingerprint:
            starts.setdefault(run.fingerprint, []).append(run)
    if len(starts) < 2:
        return ""
    parts = [
        f"baseline {runs[0].baseline_version} ({fingerprint[:19]}…): {_some([run.run_id for run in runs])}"
        for fingerprint, runs in starts.items()
    ]
    return "not comparable: runs started from different baselines; " + "; ".join(parts)


def _metric_names(results: Sequence[RunResult], best_by: Sequence[str]) -> tuple[str, ...]:
    """What decides first, then what was declared or reported, in order of appearance; facts about changesets are
    left to each run's own line unless they decide."""
    deciding = [Criterion.parse(text).metric for text in best_by]
    measured = (name for run in results for name in run.metrics if not name.startswith("changeset."))
    return tuple(dict.fromkeys([*deciding, *measured]))


def _row(variant: str, runs: Sequence[RunResult], names: Sequence[str], *, comparable: bool) -> VariantRow:
    measured = [run for run in runs if run.fingerprint] if comparable else []
    return VariantRow(
        variant=variant,
        runs=len(runs),
        states=Counter(run.state for run in runs),
        failed_checks=sum(1 for run in runs if run.failed_checks),
        metrics={name: Spread.of(_measurement(run, name) for run in measured) for name in names},
        duration_seconds=Spread.of(run.duration_seconds for run in measured),
        fix_attempts=Spread.of(float(run.fix_attempts) for run in measured),
    )


def _measurement(run: RunResult, name: str) -> float | None:
    """A failed run's changeset was never captured, so its zeros are not facts."""
    unknown = name.startswith("changeset.") and name not in run.metrics and not run.metrics
    return None if unknown else run.value(name)


def _median(row: VariantRow, criterion: Criterion) -> float | None:
    spread = row.metrics.get(criterion.metric)
    return spread.median if spread else None


def _rank(value: float | None, criterion: Criterion) -> tuple[bool, float]:
    """Sorts best first; what was not measured comes last."""
    if value is None:
        return True, 0.0
    return False, value if criterion.lower_is_better else -value


def _why_none(results: Sequence[RunResult]) -> str:
    if not results:
        return "there are no runs"
    counts = Counter(run.state for run in results)
    words = [f"{count} {state}" for state, count in counts.items()]
    failed = sorted({name for run in results for name in run.failed_checks})
    return ", ".join(words) + (f" (checks that failed: {_some(failed)})" if failed else "")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
