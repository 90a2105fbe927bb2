"""Taking a baseline: a sealed version with its fingerprint, or nothing that stays."""

from __future__ import annotations

import pytest

from orchestrator.app.baselines import create_baseline
from orchestrator.errors import CaptureError, ProviderUnavailable, TargetUnreachable, UserError
from orchestrator.maintenance import SWEEPS, run_sweep
from orchestrator.secrets import split_password
from orchestrator.settings import ProjectSecrets
from orchestrator.store import Project
from tests.integration.app.conftest import PASSWORD, Target
from tests.world import World


@pytest.fixture
def project(world: World, target: Target) -> Project:
    """A project on a target that tests may change."""
    secrets = {"shop": ProjectSecrets(target_password=PASSWORD)}  # type: ignore[arg-type]
    world.context.settings = world.context.settings.model_copy(update={"projects": secrets})
    return world.set_project(target_conninfo=split_password(target.url)[0])


def states(world: World, project: Project) -> list[str]:
    return [row["state"] for row in world.store.projects.baselines(project.id)]


def at_provider(world: World) -> set[str]:
    return {found.name for found in world.provider.list() if found.kind == "baseline"}


def test_a_baseline_is_sealed_with_number_label_and_both_fingerprints(world: World, project: Project) -> None:
    made = create_baseline(world.context, project, label="before-cleaning")
    assert (made.number, made.label, made.state) == (2, "before-cleaning", "sealed")
    assert made.fingerprint == world.fingerprint
    assert str(made.target_fingerprint).startswith("sha256:")
    assert made.target_fingerprint != made.fingerprint
    assert made.name in at_provider(world)
    for wanted in ("latest", "2", "before-cleaning"):
        assert world.store.projects.find_baseline(project, wanted).id == made.id


def test_a_schema_that_changes_meanwhile_gives_no_baseline(world: World, project: Project, target: Target) -> None:
    before = at_provider(world)
    world.provider.before("create_baseline", lambda _: target.execute("ALTER TABLE customers ADD email text"))
    with pytest.raises(CaptureError, match="schema of shop changed while its baseline was taken"):
        create_baseline(world.context, project)
    assert at_provider(world) == before
    assert states(world, project) == ["sealed", "released"]
    world.provider.before("create_baseline", None)
    assert create_baseline(world.context, project).number == 3


def test_rows_that_change_meanwhile_do_not_matter(world: World, project: Project, target: Target) -> None:
    world.provider.before("create_baseline", lambda _: target.execute("INSERT INTO customers VALUES (1, 'new')"))
    assert create_baseline(world.context, project).state == "sealed"


def test_a_provider_that_fails_leaves_no_baseline(world: World, project: Project) -> None:
    before = at_provider(world)
    world.provider.fail_next("create_baseline", ProviderUnavailable("No answer from password=hunter2."), after=True)
    with pytest.raises(ProviderUnavailable):
        create_baseline(world.context, project)
    assert at_provider(world) == before
    assert states(world, project) == ["sealed", "released"]
    assert "hunter2" not in str(world.store.projects.baselines(project.id))


def test_what_a_failed_baseline_left_is_removed_by_the_next_sweep(world: World, project: Project) -> None:
    before = at_provider(world)
    world.provider.fail_next("create_baseline", ProviderUnavailable(), after=True)
    world.provider.fail_next("destroy_baseline", ProviderUnavailable())
    with pytest.raises(ProviderUnavailable):
        create_baseline(world.context, project)
    assert at_provider(world) != before
    run_sweep(world.context, "expire", SWEEPS["expire"])
    assert at_provider(world) == before
    assert states(world, project) == ["sealed", "released"]


def test_ctrl_c_leaves_what_the_next_sweep_removes(world: World, project: Project) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    world.provider.before("create_baseline", interrupt)
    with pytest.raises(KeyboardInterrupt):
        create_baseline(world.context, project)
    assert states(world, project) == ["sealed", "failed"]
    run_sweep(world.context, "expire", SWEEPS["expire"])
    assert states(world, project) == ["sealed", "released"]


def test_a_target_that_does_not_answer_gives_no_baseline(world: World, project: Project) -> None:
    project = world.set_project(target_conninfo="host=127.0.0.1 port=1 dbname=shop")
    with pytest.raises(TargetUnreachable) as caught:
        create_baseline(world.context, project)
    assert PASSWORD not in str(caught.value)
    assert states(world, project) == ["sealed", "released"]


@pytest.mark.parametrize("label", ["Not Good", "", "x" * 41, "7", "latest"])
def test_a_label_that_cannot_be_one_is_refused_before_anything_is_made(
    world: World, project: Project, label: str
) -> None:
    with pytest.raises(UserError, match="label"):
        create_baseline(world.context, project, label=label)
    assert states(world, project) == ["sealed"]


def test_a_label_that_is_taken_is_refused_before_anything_is_made(world: World, project: Project) -> None:
    create_baseline(world.context, project, label="monday")
    with pytest.raises(UserError, match="'monday'"):
        create_baseline(world.context, project, label="monday")
    assert states(world, project) == ["sealed", "sealed"]
