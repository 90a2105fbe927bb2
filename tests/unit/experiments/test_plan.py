from __future__ import annotations

from orchestrator.experiments.plan import plan, run_seed
from orchestrator.experiments.spec import Experiment


def experiment(*variants: str, repeats: int = 2, seed: int = 7) -> Experiment:
    return Experiment.model_validate(
        {
            "experiment": "a",
            "project": "shop",
            "repeats": repeats,
            "seed": seed,
            "variants": {name: {"agent": {"command": ["x"]}} for name in variants},
        }
    )


def test_repeats_are_interleaved_over_variants() -> None:
    runs = plan(experiment("b", "a", "c"))
    assert [(run.variant, run.repeat) for run in runs] == [
        ("b", 1), ("a", 1), ("c", 1), ("b", 2), ("a", 2), ("c", 2),
    ]  # fmt: skip


def test_seeds_are_the_same_every_time_and_differ_between_runs() -> None:
    runs = plan(experiment("a", "b", repeats=50))
    assert runs == plan(experiment("a", "b", repeats=50))
    assert len({run.seed for run in runs}) == 100
    assert all(0 <= run.seed < 2**31 for run in runs)
    assert {run.seed for run in runs}.isdisjoint(run.seed for run in plan(experiment("a", "b", repeats=50, seed=8)))


def test_a_runs_seed_does_not_depend_on_the_other_variants() -> None:
    alone = plan(experiment("b"))
    assert alone == tuple(run for run in plan(experiment("a", "b")) if run.variant == "b")
    assert run_seed(7, "b", 1) == alone[0].seed == 1275003677
