"""Settings: where each value comes from, and one sentence for each mistake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from orchestrator.errors import SettingsError
from orchestrator.settings import (
    CONFIG_NAME,
    SECRETS_NAME,
    Settings,
    find_config,
    load,
    process_environment,
    with_password,
    workspace_root,
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own configuration."""
    for name in process_environment():
        if name.startswith("FORKYARD_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """`write("[worker]…", secrets="…")` gives the path of forkyard.toml."""

    def make(config: str = "", *, secrets: str | None = None, mode: int = 0o600) -> Path:
        path = tmp_path / CONFIG_NAME
        path.write_text(config, encoding="utf-8")
        if secrets is not None:
            file = tmp_path / ".forkyard" / SECRETS_NAME
            file.parent.mkdir(exist_ok=True)
            file.write_text(secrets, encoding="utf-8")
            file.chmod(mode)
        return path

    return make


def test_without_anything_there_are_defaults() -> None:
    settings = load()
    assert settings.config_file is None
    assert settings.worker.lease_seconds == 60
    assert settings.sweeps.expire_every_seconds == 6 * 3600
    assert settings.sweeps.older_than_seconds == 24 * 3600
    assert settings.llm is None


def test_a_variable_beats_the_secrets_which_beat_the_file(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        '[registry]\nurl = "postgresql://file@h/d"\n[worker]\nlease_seconds = 61\nmax_step_tries = 7',
        secrets='[registry]\nurl = "postgresql://secret@h/d"\n[worker]\nlease_seconds = 62',
    )
    monkeypatch.setenv("FORKYARD_WORKER__LEASE_SECONDS", "63")
    settings = load(path)
    assert settings.worker.lease_seconds == 63
    assert settings.registry.url == "postgresql://secret@h/d"
    assert settings.worker.max_step_tries == 7


def test_an_empty_variable_counts_as_none(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORKYARD_WORKER__LEASE_SECONDS", "")
    assert load(write("[worker]\nlease_seconds = 61")).worker.lease_seconds == 61


def test_the_state_folder_is_beside_the_file_unless_a_variable_says_otherwise(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(write()).state_dir == tmp_path / ".forkyard"
    assert load(write('state_dir = "elsewhere"')).state_dir == tmp_path / "elsewhere"
    assert load(write('state_dir = "/srv/yard"')).state_dir == Path("/srv/yard")
    monkeypatch.setenv("FORKYARD_STATE_DIR", str(tmp_path / "by-variable"))
    settings = load(write('state_dir = "elsewhere"'))
    assert settings.state_dir == tmp_path / "by-variable"
    assert settings.secrets_file == tmp_path / "by-variable" / SECRETS_NAME
    assert workspace_root(settings) == tmp_path / "by-variable" / "workspaces"


def test_secrets_may_be_in_a_file_of_another_name(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "mounted.toml"
    other.write_text('installation_key = "k1"')
    other.chmod(0o400)
    monkeypatch.setenv("FORKYARD_SECRETS", str(other))
    assert load(write(secrets='installation_key = "k2"')).key == b"k1"
    other.unlink()
    with pytest.raises(SettingsError, match=r"no file .*mounted\.toml"):
        load(write())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_secrets_that_others_may_read_are_refused(write: Callable[..., Path], mode: int) -> None:
    path = write(secrets='installation_key = "hunter2"', mode=mode)
    with pytest.raises(SettingsError, match="chmod 600") as caught:
        load(path)
    assert "hunter2" not in str(caught.value)


def test_no_secret_shows_in_any_representation(write: Callable[..., Path]) -> None:
    settings = load(
        write(
            secrets="""
installation_key = "hunter2"
[registry]
password = "hunter2"
[fork_host]
url = "postgresql://h/d"
password = "hunter2"
[broker]
password = "hunter2"
[flower]
password = "hunter2"
[llm]
base_url = "http://h"
model = "m"
api_key = "hunter2"
[projects.shop]
target_password = "hunter2"
"""
        )
    )
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert "password=hunter2" in settings.registry.conninfo()
    assert settings.fork_host is not None
    assert "password=hunter2" in settings.fork_host.conninfo()


def test_settings_do_not_change(write: Callable[..., Path]) -> None:
    settings = load(write())
    for change in (
        lambda: setattr(settings, "embedded", True),
        lambda: setattr(settings.worker, "lease_seconds", 1),
    ):
        with pytest.raises(ValueError, match="frozen"):
            change()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("embeded = true", ["unknown key 'embeded'", "did you mean 'embedded'"]),
        ("[worker]\nlease_second = 5", ["unknown key 'worker.lease_second'", "did you mean 'lease_seconds'"]),
        ("[nothing]\nlike = 'it'", ["unknown key 'nothing'"]),
        ("[worker]\nlease_seconds = 'soon'", ["worker.lease_seconds", "integer"]),
        ("[worker]\nlease_seconds = 4", ["worker.lease_seconds", "5"]),
        ("[worker]\nlease_seconds = 10\nheartbeat_seconds = 5", ["three times"]),
        ("[broker]\nvisibility_timeout_seconds = 1", ["visibility_timeout_seconds"]),
        ("[llm]\nmodel = 'm'", ["llm.base_url", "missing"]),
        ("worker = 3", ["worker"]),
        ("state_dir = 5", ["state_dir", "5"]),
        ("state_dir = ['a']", ["state_dir"]),
        ("a = = b", ["not valid TOML", "line 1"]),
    ],
)
def test_a_mistake_in_the_file_is_named_with_the_file(
    write: Callable[..., Path], config: str, words: list[str]
) -> None:
    path = write(config)
    with pytest.raises(SettingsError) as caught:
        load(path)
    message = str(caught.value)
    assert [word for word in [str(path), *words] if word not in message] == [], message
    assert "\n" not in message
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_text_is_named(write: Callable[..., Path]) -> None:
    path = write()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load(path)


def test_a_file_that_is_not_there_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="forkyard init"):
        load(tmp_path / "nowhere.toml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("FORKYARD_REGISTRY", "postgresql://me@h/d", ["FORKYARD_REGISTRY ", "FORKYARD_REGISTRY__URL"]),
        ("FORKYARD_WORKER", "{broken", ["FORKYARD_WORKER ", "FORKYARD_WORKER__LEASE_SECONDS"]),
        ("FORKYARD_WORKER__LEASE_SECONDS", "soon", ["FORKYARD_WORKER__LEASE_SECONDS", "integer"]),
        ("FORKYARD_EMBEDDED", "perhaps", ["FORKYARD_EMBEDDED", "boolean"]),
    ],
)
def test_a_mistake_in_a_variable_is_named_with_the_variable(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: list[str]
) -> None:
    monkeypatch.setenv(name, value)
    path = write()
    with pytest.raises(SettingsError) as caught:
        load(path)
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message
    assert str(path) not in message


def test_without_an_installation_key_it_is_said_how_to_get_one(write: Callable[..., Path]) -> None:
    with pytest.raises(SettingsError, match=r"forkyard init.*FORKYARD_INSTALLATION_KEY"):
        _ = load(write()).key


def test_the_nearest_file_upwards_is_found_and_a_variable_beats_it(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert find_config(deep) in (None, Path("/") / CONFIG_NAME)
    path = write()
    assert find_config(deep) == path
    (tmp_path / "a" / CONFIG_NAME).touch()
    assert find_config(deep) == tmp_path / "a" / CONFIG_NAME
    monkeypatch.setenv("FORKYARD_CONFIG", "/etc/forkyard.toml")
    assert find_config(deep) == Path("/etc/forkyard.toml")


def test_a_project_s_secrets_are_found_by_its_name_however_it_is_written(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(write(secrets='[projects.my-shop]\ntarget_password = "a"'))
    password = settings.project_secrets("my-shop").target_password
    assert password is not None
    assert password.get_secret_value() == "a"
    assert settings.project_secrets("another").target_password is None
    monkeypatch.setenv("FORKYARD_PROJECTS__MY_SHOP__TARGET_PASSWORD", "b")
    password = load(write()).project_secrets("my-shop").target_password
    assert password is not None
    assert password.get_secret_value() == "b"


def test_a_password_is_added_where_the_address_has_none() -> None:
    secret = SecretStr("s3'c r\\et")
    assert "user=me" in with_password("postgresql://me@h/d", secret)
    assert with_password("postgresql://me:own@h/d", secret) == with_password("postgresql://me:own@h/d", None)
    with pytest.raises(SettingsError, match="Not a PostgreSQL address"):
        with_password("nonsense", None)


def test_unknown_arguments_are_refused_by_the_class_itself() -> None:
    with pytest.raises(ValueError, match="unknown"):
        Settings(unknown=1)  # type: ignore[call-arg]
