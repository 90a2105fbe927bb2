"""Workspaces: folders that agents left because their worker was killed; those that agents work in stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.isolation import workspace
from orchestrator.maintenance import workspaces
from orchestrator.runs import Ending, Step
from orchestrator.settings import workspace_root
from orchestrator.store import Claim
from tests.integration.maintenance.conftest import Sweeper
from tests.world import World


def working(world: World, step: Step = Step.RUN_AGENT) -> tuple[Claim, Path]:
    """A run with its fork, and its agent's workspace with something in it."""
    claim = world.at(step)
    environment = world.fork_of(claim)
    root = workspace_root(world.context.settings)
    world.store.environments.add_resources(
        environment.id, [("folder", f"{world.context.host}:{root / environment.name}")]
    )
    folder = workspace.create(root, environment.name, None)
    (folder / "left.txt").write_text("left")
    workspace.create(root, f"{environment.name}_log", None)
    return claim, folder


def test_where_no_agent_ever_worked_there_is_nothing_to_do(world: World, sweep: Sweeper) -> None:
    assert sweep("workspaces") == {}


def test_the_workspace_of_an_agent_that_runs_stays_and_so_does_its_log(world: World, sweep: Sweeper) -> None:
    _, folder = working(world)
    assert sweep("workspaces") == {}
    assert (folder / "left.txt").exists()


@pytest.mark.parametrize("step", [Step.APPLY_MIGRATIONS, Step.SETTLE])
def test_what_is_left_after_the_agent_s_step_goes_with_its_log_and_is_seen_gone(
    world: World, sweep: Sweeper, step: Step
) -> None:
    claim, folder = working(world, step)
    assert sweep("workspaces") == {folder.name: "removed", f"{folder.name}_log": "removed"}
    assert list(folder.parent.iterdir()) == []
    lines = world.store.environments.receipt([claim.run.id])
    assert [line["gone_at"] is not None for line in lines if line["kind"] == "folder"] == [True]


def test_the_workspace_of_a_finished_run_goes(world: World, sweep: Sweeper) -> None:
    claim, folder = working(world)
    world.store.runs.finish(claim.run.id, Ending.failed("its worker died"))
    assert sweep("workspaces")[folder.name] == "removed"


def test_the_workspace_of_an_agent_s_first_start_goes_while_the_second_works(world: World, sweep: Sweeper) -> None:
    claim, first = working(world)
    world.execute("UPDATE environments SET state = 'released', released_at = now()")
    second = world.fork_of(claim)
    kept = workspace.create(first.parent, second.name, None)
    assert set(sweep("workspaces")) == {first.name, f"{first.name}_log"}
    assert kept.exists()


def test_a_folder_that_the_registry_does_not_know_goes_and_a_stranger_s_stays(world: World, sweep: Sweeper) -> None:
    root = workspace_root(world.context.settings)
    unknown = workspace.create(root, "fy_00000000_f1", None)
    (root / "not-ours").mkdir()
    assert sweep("workspaces") == {unknown.name: "removed"}
    assert [entry.name for entry in root.iterdir()] == ["not-ours"]


def test_processes_that_still_work_in_a_folder_are_ended_first(
    world: World, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, folder = working(world, Step.SETTLE)
    ended = []
    monkeypatch.setattr(
        workspaces, "end_leftovers", lambda run_id, _, workspace: ended.append((run_id, workspace, workspace.exists()))
    )
    sweep("workspaces")
    assert (claim.run.id, folder, True) in ended
