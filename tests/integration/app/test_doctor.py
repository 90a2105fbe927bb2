"""What `doctor` finds, and what it says to do."""

from __future__ import annotations

import pytest

from orchestrator.app.doctor import examine
from orchestrator.errors import ProviderUnavailable
from orchestrator.forks.base import Finding
from orchestrator.maintenance import SWEEPS, run_sweep
from orchestrator.runs import Ending, Step
from tests.registry import expire_lease
from tests.world import World


def findings(world: World) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine(world.context)}


def bad(world: World) -> dict[str, Finding]:
    return {subject: finding for subject, finding in findings(world).items() if not finding.ok}


def test_a_yard_that_is_well_has_no_complaints(world: World) -> None:
    for name in ("rescue", "expire"):
        run_sweep(world.context, name, SWEEPS[name])
    assert bad(world) == {}
    subjects = set(findings(world))
    assert {"registry", "queue", "sweep rescue", "sweep expire", "stuck runs", "zombie forks"} <= subjects
    assert {subject.split(":")[0] for subject in subjects if ":" in subject} == {"shop"}


def test_a_new_installation_is_not_blamed_for_sweeps_that_are_not_due(world: World) -> None:
    assert findings(world)["sweep rescue"].detail == "not due yet"
    assert bad(world) == {}


def test_sweeps_that_never_ran_are_named_with_what_to_start(world: World) -> None:
    world.execute("UPDATE installation SET created_at = now() - interval '1 day'")
    assert set(bad(world)) == {"sweep rescue", "sweep expire"}
    assert bad(world)["sweep rescue"].detail == "never ran"
    assert "start beat" in bad(world)["sweep rescue"].fix


def test_sweeps_that_stopped_are_named(world: World) -> None:
    for name in ("rescue", "expire"):
        run_sweep(world.context, name, SWEEPS[name])
    world.pass_time(hours=1)
    assert set(bad(world)) == {"sweep rescue"}
    assert "ran 3600 s ago" in bad(world)["sweep rescue"].detail
    world.pass_time(hours=18)
    assert set(bad(world)) == {"sweep rescue", "sweep expire"}


def test_a_sweep_that_failed_is_named(world: World) -> None:
    world.store.sweeps.record("rescue", started_at=world.store.sweeps.now(), outcome="failed: no broker", findings=[])
    assert "failed: no broker" in bad(world)["sweep rescue"].detail


def test_stuck_runs_and_zombies_are_counted(world: World) -> None:
    claim = world.at(Step.SETTLE)
    world.fork_of(claim)
    world.store.runs.finish(claim.run.id, Ending.discarded("x"), claim=claim)
    world.pass_time(seconds=11)
    expire_lease(world.registry, world.at(Step.RUN_AGENT, owner="elsewhere:1:1").run.id)
    found = bad(world)
    assert found["stuck runs"].detail.startswith("1 runs")
    assert found["zombie forks"].detail.startswith("1 forks")
    assert all("forkyard sweep" in finding.fix for finding in found.values())
    assert len(world.forks()) == 1


def test_a_broker_that_is_away_is_a_finding(world: World) -> None:
    world.dispatcher.away = True
    assert "queue" in bad(world)


def test_a_fork_host_that_does_not_answer_is_a_finding_without_secrets(world: World) -> None:
    world.provider.fail_next("check", ProviderUnavailable("No answer at postgresql://a:hunter2@h/d."))
    assert bad(world)["shop: fork host"].detail == "No answer at postgresql://a:***@h/d."


def test_a_target_that_does_not_answer_is_a_finding(world: World) -> None:
    world.set_project(target_conninfo="host=127.0.0.1 port=1 dbname=gone")
    [(subject, finding)] = bad(world).items()
    assert subject == "shop: target: connection"
    assert "127.0.0.1" in finding.detail


def test_one_project_s_trouble_does_not_hide_another_s(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.set_project("another", target_conninfo="host=127.0.0.1 port=1 dbname=gone")
    monkeypatch.setattr(
        world.provider, "check", lambda: [Finding(subject="disk", ok=False, detail="full", fix="make room")]
    )
    assert set(bad(world)) == {
        "another: fork host: disk",
        "another: target: connection",
        "shop: fork host: disk",
    }
