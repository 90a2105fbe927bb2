"""Adding a project: checked first, recorded without secrets, and not at all where something is wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Callable

import pytest

from orchestrator.app.projects import ProjectRequest, add_project
from orchestrator.errors import NotPossible, PrivilegeMissing, ProviderUnavailable, SettingsError, UserError
from orchestrator.forks.base import Finding
from orchestrator.settings import load
from orchestrator.store import Project
from tests.conftest import url_for
from tests.integration.app.conftest import PASSWORD, Target
from tests.world import World

HOST = "postgresql://fork_admin:hunter2-of-the-host@fake.invalid/postgres"


@pytest.fixture
def request_for(target: Target) -> Callable[..., ProjectRequest]:
    def make(**changes: object) -> ProjectRequest:
        return ProjectRequest(**{"name": "new-shop", "target": target.url, "host": HOST, "provider": "fake", **changes})  # type: ignore[arg-type]

    return make


def known(world: World) -> list[str]:
    return [project.name for project in world.store.projects.all() if project.id != world.project.id]


def secrets_of(world: World) -> dict[str, object]:
    path = world.context.settings.secrets_file
    return tomllib.loads(path.read_text()) if path.exists() else {}


def test_a_project_is_recorded_and_its_target_gets_the_marker(
    world: World, target: Target, request_for: Callable[..., ProjectRequest]
) -> None:
    project = add_project(world.context, request_for(max_parallel=7, pool_size=2, restart_interrupted=False))
    assert isinstance(project, Project)
    assert (project.max_parallel, project.pool_size, project.restart_interrupted) == (7, 2, False)
    assert known(world) == ["new-shop"]
    assert target.has_marker


def test_passwords_go_to_the_secrets_file_alone(world: World, request_for: Callable[..., ProjectRequest]) -> None:
    add_project(world.context, request_for(redis="redis://:hunter2-of-redis@127.0.0.1:1/0"))
    assert secrets_of(world) == {
        "projects": {
            "new-shop": {
                "target_password": PASSWORD,
                "host_password": "hunter2-of-the-host",
                "redis_password": "hunter2-of-redis",
            }
        }
    }
    assert world.context.settings.secrets_file.stat().st_mode & 0o077 == 0
    assert "hunter2" not in str(world.execute("SELECT p::text FROM projects p"))


def test_what_was_saved_is_what_the_next_process_connects_with(
    world: World, target: Target, request_for: Callable[..., ProjectRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = add_project(world.context, request_for())
    monkeypatch.setenv("FORKYARD_STATE_DIR", str(world.context.settings.state_dir))
    world.context.settings = load()
    with_password = world.context.target_conninfo(project)
    assert f"password={PASSWORD}" in with_password
    assert url_for(with_password, password="") == url_for(target.url, password="")


def test_the_same_name_again_changes_the_project_and_keeps_its_id(
    world: World, request_for: Callable[..., ProjectRequest]
) -> None:
    first = add_project(world.context, request_for(max_parallel=2))
    second = add_project(world.context, request_for(max_parallel=9))
    assert (second.id, second.max_parallel) == (first.id, 9)
    assert known(world) == ["new-shop"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_parallel": 0}, "--parallel must be between 1 and 256, not 0"),
        ({"max_parallel": 10_000}, "--parallel"),
        ({"ttl_seconds": 59}, "--ttl"),
        ({"pool_size": 65}, "--pool"),
        ({"agent_connections": 0}, "--agent-connections"),
        ({"target": "postgresql://[nonsense"}, "--target is not a PostgreSQL address"),
        ({"host": "no address at all"}, "--host is not a PostgreSQL address"),
        ({"name": "New Shop"}, "1 to 40 of a-z, 0-9"),
        ({"name": ""}, "1 to 40 of a-z, 0-9"),
        ({"name": "x" * 41}, "1 to 40 of a-z, 0-9"),
        ({"redis": "http://127.0.0.1"}, "--redis"),
        ({"redis": "redis://127.0.0.1:notaport/0"}, "--redis"),
    ],
)
def test_a_mistake_is_told_in_a_sentence_and_leaves_nothing_behind(
    world: World,
    target: Target,
    request_for: Callable[..., ProjectRequest],
    changes: dict[str, object],
    words: str,
) -> None:
    with pytest.raises(SettingsError) as caught:
        add_project(world.context, request_for(**changes))
    assert words in str(caught.value)
    assert (known(world), secrets_of(world), target.has_marker) == ([], {}, False)


def test_a_project_with_a_fork_does_not_move_to_another_host(
    world: World, request_for: Callable[..., ProjectRequest]
) -> None:
    with pytest.raises(NotPossible, match="0 forks and 1 baselines at its present host"):
        add_project(world.context, request_for(name="shop"))
    assert world.store.projects.get("shop").host_conninfo == world.project.host_conninfo
    world.execute("DELETE FROM baselines")
    assert "fake.invalid" in add_project(world.context, request_for(name="shop")).host_conninfo


def test_a_target_that_does_not_answer_is_not_added(world: World, request_for: Callable[..., ProjectRequest]) -> None:
    with pytest.raises(UserError) as caught:
        add_project(world.context, request_for(target=f"postgresql://me:{PASSWORD}@127.0.0.1:1/shop"))
    assert PASSWORD not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)
    assert (known(world), secrets_of(world)) == ([], {})


def test_a_login_that_does_not_own_the_tables_is_told_what_to_do(
    world: World, target: Target, request_for: Callable[..., ProjectRequest]
) -> None:
    target.execute("CREATE TABLE not_theirs (id int)")
    with pytest.raises(PrivilegeMissing, match="not_theirs"):
        add_project(world.context, request_for())
    assert (known(world), secrets_of(world), target.has_marker) == ([], {}, False)


def test_a_fork_host_without_the_needed_rights_is_refused_and_leaves_nothing_behind(
    world: World, target: Target, request_for: Callable[..., ProjectRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = Finding(subject="login", ok=False, detail="may not create databases", fix="ALTER ROLE x CREATEDB")
    monkeypatch.setattr(world.provider, "check", lambda: [finding])
    with pytest.raises(PrivilegeMissing, match="may not create databases; ALTER ROLE x CREATEDB"):
        add_project(world.context, request_for())
    assert (known(world), secrets_of(world), target.has_marker) == ([], {}, False)


def test_a_fork_host_that_does_not_answer_leaves_nothing_behind(
    world: World, target: Target, request_for: Callable[..., ProjectRequest]
) -> None:
    world.provider.fail_next("check", ProviderUnavailable())
    with pytest.raises(ProviderUnavailable):
        add_project(world.context, request_for())
    assert (known(world), secrets_of(world), target.has_marker) == ([], {}, False)
