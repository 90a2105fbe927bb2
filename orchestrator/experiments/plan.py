"""Which runs an experiment has, in the order in which they start."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from orchestrator.experiments.spec import Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """One variant, one repeat (counted from 1); `seed` is from 0 to 2**31 - 1."""

    variant: str
    repeat: int
    seed: int


def plan(experiment: Experiment) -> tuple[PlannedRun, ...]:
    """Every run, interleaved: first repeat 1 of all variants, then repeat 2, …, so that a server that slows down
    or a model that changes during the experiment meets all variants alike. Pure: the same runs every time."""
    return tuple(
        PlannedRun(variant=variant, repeat=repeat, seed=run_seed(experiment.seed, variant, repeat))
        for repeat in range(1, experiment.repeats + 1)
        for variant in experiment.variants
    )


def run_seed(seed: int, variant: str, repeat: int) -> int:
    """A run's own seed; it does not depend on which other variants or repeats there are."""
    digest = hashlib.sha256(f"{seed}/{variant}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
