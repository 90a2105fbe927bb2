"""Projects: a named target, where its forks live, and its limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg

from orchestrator.app.secrets_file import update_secrets
from orchestrator.errors import NotPossible, PrivilegeMissing, SettingsError, TargetUnreachable
from orchestrator.merge import marker
from orchestrator.merge.target import check_target
from orchestrator.secrets import redact, split_password, split_url_password
from orchestrator.steps.context import Context
from orchestrator.store import Project

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRequest:
    """What a user says about a project. `target` and `host` may carry passwords, which go to the secrets file."""

    name: str
    target: str
    host: str
    provider: str = "clone"
    max_parallel: int = 4
    ttl_seconds: int = 86400
    pool_size: int = 0
    agent_connections: int = 2
    restart_interrupted: bool = True
    redis: str | None = None


def add_project(context: Context, request: ProjectRequest) -> Project:
    """Check target and fork host, create the merge marker's schema in the target, and record the project.

    Idempotent: the same name again changes the project. Raises TargetUnreachable, PrivilegeMissing, SettingsError;
    then nothing is recorded.
    """
    _check(request)
    # Raises for an unknown provider; connects to nothing yet.
    context.make_provider(request.provider, request.host, request.agent_connections)
    target, target_password = _split(request.target, "target")
    host, host_password = _split(request.host, "host")
    redis_url, redis_password = split_url_password(request.redis) if request.redis else (None, None)
    _check_target(request)
    _refuse_move(context, request)
    _check_host(context, request)
    _install_marker(request.target)
    passwords = {"target_password": target_password, "host_password": host_password, "redis_password": redis_password}
    _save_passwords(context, request.name, passwords)
    return context.store.projects.save(
        name=request.name,
        provider=request.provider,
        target_conninfo=target,
        host_conninfo=host,
        max_parallel=request.max_parallel,
        ttl_seconds=request.ttl_seconds,
        pool_size=request.pool_size,
        agent_connections=request.agent_connections,
        restart_interrupted=request.restart_interrupted,
        redis_url=redis_url,
    )


def _check(request: ProjectRequest) -> None:
    if not _NAME.fullmatch(request.name):
        raise SettingsError(f"A project's name is 1 to 40 of a-z, 0-9 and '-', not {request.name!r}.")
    if request.redis is not None and not _is_redis(request.redis):
        raise SettingsError("--redis is not the address of a Redis or Valkey, such as redis://host:6379.")
    bounds = {
        "parallel": (request.max_parallel, 1, 256),
        "ttl": (request.ttl_seconds, 60, 90 * 86400),
        "pool": (request.pool_size, 0, 64),
        "agent-connections": (request.agent_connections, 1, 100),
    }
    for name, (value, low, high) in bounds.items():
        if not low <= value <= high:
            raise SettingsError(f"--{name} must be between {low} and {high}, not {value}.")


def _is_redis(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port at all
        return False


def _split(conninfo: str, what: str) -> tuple[str, str | None]:
    try:
        return split_password(conninfo)
    except psycopg.ProgrammingError as exc:
        raise SettingsError(f"--{what} is not a PostgreSQL address: {str(exc).strip()}") from None


def _check_target(request: ProjectRequest) -> None:
    failed = next((finding for finding in check_target(request.target) if not finding.ok), None)
    if failed is None:
        return
    if failed.subject == "connection":
        raise TargetUnreachable(f"{failed.detail[:1].upper()}{failed.detail[1:]}")
    raise PrivilegeMissing(f"The target is not ready: {failed.detail}; {failed.fix}.")


def _refuse_move(context: Context, request: ProjectRequest) -> None:
    """Forks at another server would be looked for in vain, and taken for gone."""
    present = next((project for project in context.store.projects.all() if project.name == request.name), None)
    if present is None or (present.provider, _server(present.host_conninfo)) == (
        request.provider,
        _server(request.host),
    ):
        return
    forks = len(context.store.environments.open(present.id))
    rows = context.store.projects.baselines(present.id)
    baselines = sum(row["state"] != "released" for row in rows)
    if forks or baselines:
        raise NotPossible(
            f"Project {request.name} has {forks} forks and {baselines} baselines at its present host: release them "
            "(`forkyard sweep`, `forkyard baseline release`) before it moves to another."
        )


def _server(conninfo: str) -> tuple[str, str]:
    parts = psycopg.conninfo.conninfo_to_dict(conninfo)
    return str(parts.get("hostaddr") or parts.get("host", "")), str(parts.get("port", "5432"))


def _check_host(context: Context, request: ProjectRequest) -> None:
    provider = context.make_provider(request.provider, request.host, request.agent_connections)
    failed = next((finding for finding in provider.check() if not finding.ok), None)
    if failed is None:
        return
    if failed.subject == "fork host":
        raise TargetUnreachable(failed.detail)
    raise PrivilegeMissing(f"The fork host is not ready: {failed.detail}; {failed.fix.rstrip('.')}.")


def _install_marker(target: str) -> None:
    try:
        with psycopg.connect(target, connect_timeout=10, application_name="forkyard-project") as connection:
            marker.install(connection)
    except psycopg.OperationalError as exc:
        raise TargetUnreachable(f"The target cannot be reached: {redact(str(exc).strip())}") from None


def _save_passwords(context: Context, name: str, passwords: dict[str, str | None]) -> None:
    given = {key: value for key, value in passwords.items() if value is not None}
    if given:
        update_secrets(context.settings.secrets_file, {"projects": {name: given}})
