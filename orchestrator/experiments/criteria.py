"""What decides between runs: the entries of `best_by`, such as `-duplicates` ("-" means: lower is better)."""

from __future__ import annotations

from dataclasses import dataclass

OWN_FACTS = ("duration_seconds", "fix_attempts", "migrations")
"""Facts that every run has, besides the metrics that an experiment declares."""

PREFIXES = ("agent.", "changeset.")
"""Names that need no declaration: what an agent reported of itself, and facts about the changeset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    metric: str
    lower_is_better: bool

    @classmethod
    def parse(cls, text: str) -> Criterion:
        """`-name` or `name`; every text is a criterion, whether the metric exists is checked elsewhere."""
        return cls(metric=text.removeprefix("-").strip(), lower_is_better=text.startswith("-"))

    @property
    def words(self) -> str:
        return f"{'lowest' if self.lower_is_better else 'highest'} {self.metric}"


def is_undeclared(metric: str) -> bool:
    """Whether a metric of that name needs no declaration in the experiment file."""
    return metric in OWN_FACTS or any(metric.startswith(prefix) and metric != prefix for prefix in PREFIXES)
