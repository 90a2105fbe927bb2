"""Forkyard's configuration, frozen: the only reader of the environment.

Sources, the first one wins: `FORKYARD_*` variables (nested with `__`, e.g. FORKYARD_REGISTRY__PASSWORD), the secrets
file `<state_dir>/secrets.toml` (mode 0600), `forkyard.toml`, the defaults here.
"""

from __future__ import annotations

import os
import stat
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self, TypeGuard, get_args

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

from orchestrator.errors import SettingsError

CONFIG_NAME = "forkyard.toml"
SECRETS_NAME = "secrets.toml"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RegistrySettings(_Section):
    url: str = "postgresql://forkyard@127.0.0.1:5432/forkyard"
    password: SecretStr | None = None

    def conninfo(self) -> str:
        """The registry's connection string, password included."""
        return with_password(self.url, self.password)


class ForkHostSettings(_Section):
    """Where forks live, for projects that name no host of their own: an admin login (CREATEDB, CREATEROLE)."""

    url: str
    password: SecretStr | None = None

    def conninfo(self) -> str:
        return with_password(self.url, self.password)


class BrokerSettings(_Section):
    url: str = "redis://127.0.0.1:6379/0"
    password: SecretStr | None = None
    key_prefix: str = "forkyard:"
    visibility_timeout_seconds: int = Field(default=600, ge=60)


class WorkerSettings(_Section):
    lease_seconds: int = Field(default=60, ge=5)
    heartbeat_seconds: float = Field(default=5, gt=0)
    dispatch_seconds: int = Field(default=30, ge=2)
    """How long a published message may take to arrive before rescue publishes it again."""
    max_step_tries: int = Field(default=4, ge=1)
    log_limit_bytes: int = Field(default=10_000_000, ge=1000)
    workspace_limit_bytes: int = Field(default=500_000_000, ge=1_000_000)
    process_limit: int = Field(default=256, ge=1)


class SweepSettings(_Section):
    expire_every_seconds: int = Field(default=6 * 3600, ge=1)
    older_than_seconds: int = Field(default=24 * 3600, ge=60)
    rescue_every_seconds: int = Field(default=30, ge=1)
    pool_every_seconds: int = Field(default=30, ge=1)
    prune_after_days: int = Field(default=30, ge=1)
    max_deletions: int = Field(default=500, ge=1)


class LlmSettings(_Section):
    base_url: str
    model: str
    api_key: SecretStr | None = None
    timeout_seconds: float = 60


class FlowerSettings(_Section):
    port: int = 5555
    user: str = "forkyard"
    password: SecretStr | None = None


class ProjectSecrets(_Section):
    target_password: SecretStr | None = None
    host_password: SecretStr | None = None
    redis_password: SecretStr | None = None


class Settings(BaseSettings):
    """Everything that may differ between two installations."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="FORKYARD_", env_nested_delimiter="__", env_ignore_empty=True
    )

    config_file: Path | None = None
    state_dir: Path = Path(".forkyard")
    installation_key: SecretStr | None = None
    dispatcher: str = "workers.dispatch:CeleryDispatcher"
    registry: RegistrySettings = RegistrySettings()
    broker: BrokerSettings = BrokerSettings()
    worker: WorkerSettings = WorkerSettings()
    sweeps: SweepSettings = SweepSettings()
    flower: FlowerSettings = FlowerSettings()
    llm: LlmSettings | None = None
    fork_host: ForkHostSettings | None = None
    embedded: bool = False
    """`forkyard up` runs a Postgres and a Valkey of its own, and writes their addresses to the secrets file."""
    projects: dict[str, ProjectSecrets] = Field(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @model_validator(mode="after")
    def _heartbeat_fits_lease(self) -> Self:
        if self.worker.heartbeat_seconds * 3 > self.worker.lease_seconds:
            raise ValueError("worker.lease_seconds must be at least three times worker.heartbeat_seconds")
        return self

    @property
    def key(self) -> bytes:
        """The installation key, which every fork's password is derived from."""
        if self.installation_key is None:
            raise SettingsError(
                "There is no installation key: run `forkyard init`, or set FORKYARD_INSTALLATION_KEY on this worker."
            )
        return self.installation_key.get_secret_value().encode()

    @property
    def secrets_file(self) -> Path:
        return _secrets_file(self.state_dir)

    def secrets_version(self) -> tuple[int, int] | None:
        """Another one after every change of the secrets file: a long-lived process then loads its settings anew."""
        try:
            found = self.secrets_file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def project_secrets(self, name: str) -> ProjectSecrets:
        return self.projects.get(name.replace("-", "_")) or self.projects.get(name) or ProjectSecrets()


def with_password(conninfo: str, password: SecretStr | None) -> str:
    """A libpq connection string with the password added where it has none."""
    try:
        parts = conninfo_to_dict(conninfo)
    except ProgrammingError as exc:
        raise SettingsError(f"Not a PostgreSQL address: {exc}".strip()) from None
    if password is not None and "password" not in parts:
        parts["password"] = password.get_secret_value()
    return make_conninfo("", **parts)


def find_config(start: Path | None = None) -> Path | None:
    """`FORKYARD_CONFIG`, or the nearest forkyard.toml from the current folder upwards."""
    named = os.environ.get("FORKYARD_CONFIG")
    if named:
        return Path(named)
    here = (start or Path.cwd()).resolve()
    return next((p / CONFIG_NAME for p in (here, *here.parents) if (p / CONFIG_NAME).is_file()), None)


def load(config: Path | None = None) -> Settings:
    """The settings for this process.

    Raises SettingsError with one sentence for a missing file, bad TOML, an unknown key or a secrets file that others
    may read.
    """
    path = config or find_config()
    values: dict[str, Any] = {}
    if path is not None:
        values = _read_toml(path)
        values["config_file"] = path
    base = path.parent if path else Path.cwd()
    named = os.environ.get("FORKYARD_STATE_DIR") or values.get("state_dir") or ".forkyard"
    if not isinstance(named, str):
        raise SettingsError(f"{path}: state_dir must be a folder's name in quotes, not {named!r}.")
    state = Path(named).expanduser()
    values["state_dir"] = state if state.is_absolute() else base / state
    secrets = _secrets_file(values["state_dir"])
    if os.environ.get("FORKYARD_SECRETS") or secrets.exists():
        _refuse_open_file(secrets)
        values = _merge(values, _read_toml(secrets))
    try:
        return Settings(**values)
    except ValidationError as exc:
        raise SettingsError(_sentence(exc, path)) from None
    except SourceError as exc:
        raise SettingsError(_not_json(exc)) from None


def _secrets_file(state_dir: Path) -> Path:
    named = os.environ.get("FORKYARD_SECRETS")
    return Path(named) if named else state_dir / SECRETS_NAME


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"There is no file {path}: run `forkyard init`, or name another with --config.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path} is not valid TOML: {exc}") from None
    except OSError as exc:
        raise SettingsError(f"{path} cannot be read: {exc.strerror}.") from None


def _refuse_open_file(path: Path) -> None:
    mode = path.stat().st_mode if path.exists() else 0
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(f"{path} holds secrets and others may read it: run `chmod 600 {path}`.")


def _merge(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    merged = dict(left)
    for key, value in right.items():
        mine = merged.get(key)
        merged[key] = _merge(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return merged


def _sentence(exc: ValidationError, path: Path | None) -> str:
    first = exc.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    variable = "__".join(["FORKYARD", *where.split(".")]).replace("__", "_", 1).upper()
    file = variable if variable in os.environ else path or "The environment"
    if first["type"] == "extra_forbidden":
        close = get_close_matches(str(first["loc"][-1]), _keys(first["loc"][:-1]), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "; `forkyard init` in an empty folder shows them all."
        return f"{file}: unknown key {where!r}{hint}"
    if first["type"] == "missing":
        return f"{file}: the key {where!r} is missing."
    return f"{file}: {where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}."


def _not_json(exc: SourceError) -> str:
    """A variable that names a whole section, such as FORKYARD_REGISTRY=postgresql://…"""
    field = next(name for name in Settings.model_fields if f'"{name}"' in str(exc))
    example = f"FORKYARD_{field}__{next(iter(_keys((field,))), 'name')}".upper()
    return f"FORKYARD_{field.upper()} names a section, not a value: set its keys one by one, such as {example}."


def _keys(section: tuple[str | int, ...]) -> list[str]:
    """What may stand at the top of the configuration, or in one of its sections."""
    sections = {
        name: next((kind for kind in (field.annotation, *get_args(field.annotation)) if _is_section(kind)), None)
        for name, field in Settings.model_fields.items()
    }
    found = sections.get(str(section[0])) if section else Settings
    return list(found.model_fields) if found else []


def _is_section(kind: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def workspace_root(settings: Settings) -> Path:
    """Where this host's workers make the workspaces of agents."""
    return settings.state_dir.resolve() / "workspaces"


def process_environment() -> dict[str, str]:
    """The worker's own environment, of which agents get only what their variant names."""
    return dict(os.environ)
