"""Receipts of workspaces that were removed while the registry was away."""

from __future__ import annotations

import pytest

from orchestrator.isolation import workspace
from orchestrator.runs import Step
from orchestrator.settings import workspace_root
from orchestrator.store import Claim
from tests.integration.maintenance.conftest import Sweeper
from tests.world import World


def intended(world: World, step: Step, host: str | None = None) -> tuple[Claim, str]:
    """A run whose workspace the registry still believes in."""
    claim = world.at(step)
    environment = world.fork_of(claim)
    path = workspace_root(world.context.settings) / environment.name
    world.store.environments.add_resources(environment.id, [("folder", f"{host or world.context.host}:{path}")])
    return claim, environment.name


def seen_gone(world: World, claim: Claim) -> bool:
    lines = world.store.environments.receipt([claim.run.id])
    return all(line["gone_at"] is not None for line in lines if line["kind"] == "folder")


def test_a_folder_that_is_no_longer_there_is_noted_as_gone(world: World, sweep: Sweeper) -> None:
    claim, name = intended(world, Step.SETTLE)
    assert sweep("workspaces", dry_run=True) == {name: "would be noted as gone"}
    assert not seen_gone(world, claim)
    assert sweep("workspaces") == {name: "noted as gone"}
    assert seen_gone(world, claim)
    assert sweep("workspaces") == {}


@pytest.mark.parametrize(("step", "host"), [(Step.RUN_AGENT, None), (Step.SETTLE, "elsewhere")])
def test_one_that_is_about_to_be_made_or_that_another_host_must_look_for_is_left(
    world: World, sweep: Sweeper, step: Step, host: str | None
) -> None:
    claim, _ = intended(world, step, host)
    assert sweep("workspaces") == {}
    assert not seen_gone(world, claim)


def test_one_that_is_still_there_is_removed_first(world: World, sweep: Sweeper) -> None:
    claim, name = intended(world, Step.SETTLE)
    workspace.create(workspace_root(world.context.settings), name, None)
    assert sweep("workspaces") == {name: "removed"}
    assert seen_gone(world, claim)
