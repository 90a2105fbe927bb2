"""Submitting: all that a run needs is recorded in one go, or nothing is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.app.submit import submit
from orchestrator.errors import NotFound, SpecError, UserError
from orchestrator.isolation.archive import unpack
from orchestrator.maintenance.expire import destroy_baseline
from orchestrator.runs import RunState
from tests.world import World

SPEC = """
experiment: tidy
project: shop
repeats: 2
seed: 7
promote: none
files: agents/
variants:
  careful:
    agent: {command: [sh, agent.sh]}
  quick:
    agent: {command: ["true"]}
  by-hand:
    agent: {sql: migrations/}
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """`write("parallel: 3")` gives the experiment's file with more lines, beside its folders."""
    for folder, file in (("agents", "agent.sh"), ("migrations", "1.sql")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(f"-- {file}")

    def make(more: str = "", *, instead: str = "") -> Path:
        path = tmp_path / "tidy.yaml"
        path.write_text(f"{instead or SPEC}{more}\n", encoding="utf-8")
        return path

    return make


def recorded(world: World) -> tuple[int, int, int]:
    [counts] = world.execute(
        "SELECT (SELECT count(*) FROM experiments), (SELECT count(*) FROM runs), (SELECT count(*) FROM artifacts)"
    )
    return counts  # type: ignore[return-value]


def test_an_experiment_is_recorded_with_its_runs_and_sent(world: World, write: Callable[..., Path]) -> None:
    submitted = submit(world.context, write())
    assert submitted.run_ids == (
        "tidy/careful#1",
        "tidy/quick#1",
        "tidy/by-hand#1",
        "tidy/careful#2",
        "tidy/quick#2",
        "tidy/by-hand#2",
    )
    [sent] = world.dispatcher.sent
    assert (sent.kind, sent.experiment_id, sent.run_ids) == ("start", submitted.experiment.id, submitted.run_ids)
    runs = world.store.runs.of_experiment(submitted.experiment.id)
    assert {run.state for run in runs} == {RunState.QUEUED}
    assert len({run.seed for run in runs}) == 6
    assert submitted.experiment.parallel == world.project.max_parallel
    assert submitted.experiment.baseline_id == world.baseline.id


def test_a_second_submission_is_an_experiment_of_its_own_with_the_same_seeds(
    world: World, write: Callable[..., Path]
) -> None:
    first, second = submit(world.context, write()), submit(world.context, write())
    assert second.experiment.handle == "tidy.2"
    assert second.run_ids[0] == "tidy.2/careful#1"
    seeds = [[run.seed for run in world.store.runs.of_experiment(s.experiment.id)] for s in (first, second)]
    assert seeds[0] == seeds[1]


def test_each_folder_is_packed_once_and_holds_what_was_submitted(
    world: World, write: Callable[..., Path], tmp_path: Path
) -> None:
    files = submit(world.context, write()).experiment.files
    assert files["careful"] == files["quick"] != files["by-hand"]
    (tmp_path / "agents/agent.sh").write_text("changed later")
    bundle = tmp_path / "unpacked"
    bundle.mkdir()
    unpack(world.store.artifacts.get(files["careful"]), bundle, limit_bytes=1_000_000)
    assert (bundle / "agent.sh").read_text() == "-- agent.sh"
    assert recorded(world)[2] == 2


def test_one_variant_alone_can_be_submitted(world: World, write: Callable[..., Path]) -> None:
    submitted = submit(world.context, write(), only=["quick"])
    assert submitted.run_ids == ("tidy/quick#1", "tidy/quick#2")
    assert list(world.context.plan(world.store.runs.get(submitted.run_ids[0])).spec.variants) == ["quick"]


def test_with_the_broker_away_the_runs_are_recorded_and_start_when_it_is_back(
    world: World, write: Callable[..., Path]
) -> None:
    world.dispatcher.away = True
    submitted = submit(world.context, write())
    assert "will start when it is back" in submitted.warning
    assert recorded(world)[:2] == (1, 6)
    world.pass_time(seconds=31)
    assert [run.id for run in world.store.runs.overdue(limit=10)] == list(submitted.run_ids)


@pytest.mark.parametrize(
    ("more", "instead", "error", "words"),
    [
        ("parallel: 3", "", SpecError, "project shop allows 2 runs at once"),
        ("unknown: 1", "", SpecError, "unknown"),
        ("baseline: 9", "", NotFound, "no sealed baseline '9'"),
        ("baseline: nightly", "", NotFound, "no sealed baseline 'nightly'"),
        ("", SPEC.replace("project: shop", "project: shoppe"), NotFound, "no project 'shoppe' (known: shop)"),
        ("", SPEC.replace("files: agents/", "files: nowhere/"), UserError, "nowhere"),
    ],
)
def test_a_mistake_records_nothing(
    world: World, write: Callable[..., Path], more: str, instead: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        submit(world.context, write(more, instead=instead))
    assert words in str(caught.value)
    assert recorded(world)[:2] == (0, 0)
    assert world.dispatcher.sent == []


def test_an_unknown_variant_records_nothing(world: World, write: Callable[..., Path]) -> None:
    with pytest.raises(SpecError, match="did you mean 'careful'"):
        submit(world.context, write(), only=["carefull"])
    assert recorded(world)[:2] == (0, 0)


def test_the_baseline_is_locked_from_here_on(world: World, write: Callable[..., Path]) -> None:
    submitted = submit(world.context, write())
    newer = world.new_baseline(label="newer")
    assert not destroy_baseline(world.context, world.baseline.id, reason="a person asked")
    assert world.context.plan(world.store.runs.get(submitted.run_ids[0])).baseline.id == world.baseline.id
    assert submit(world.context, write("baseline: newer")).experiment.baseline_id == newer.id
