"""The embedded installation: servers from wheels, their databases and logins, workers, beat and Flower."""

from __future__ import annotations

import secrets
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from orchestrator.app.secrets_file import new_key, update_secrets
from orchestrator.devstack.ports import choose_port
from orchestrator.devstack.processes import StopPlan
from orchestrator.devstack.stack import Stack
from orchestrator.devstack.status import ServiceState, StackStatus
from orchestrator.errors import StackError
from orchestrator.secrets import split_password
from orchestrator.settings import Settings, load, process_environment
from orchestrator.store import upgrade

REGISTRY_LOGIN = "forkyard_registry"
HOST_LOGIN = "forkyard_host"
REGISTRY_DATABASE = "forkyard"


START_SECONDS = 1.5
"""A worker that cannot load its application ends within this time."""
WARM_STOP = StopPlan(steps=((signal.SIGTERM, 5.0), (signal.SIGQUIT, 3.0)))
"""Celery's warm shutdown, then its cold one; what is cut off goes on from its lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """How many processes each queue's worker has."""

    agents: int = 4
    steps: int = 2
    gc: int = 2


def stack_of(settings: Settings, *, disposable: bool = False) -> Stack:
    return Stack(settings.state_dir / "stack", disposable=disposable)


def bring_up(settings: Settings, *, bound_to_caller: bool = False, disposable: bool = False) -> Settings:
    """Servers up, registry upgraded, addresses in the secrets file; the settings that result. Idempotent."""
    if settings.embedded:
        stack = stack_of(settings, disposable=disposable)
        stack.up(bound_to_caller=bound_to_caller)
        _prepare(settings, stack)
        settings = load(settings.config_file)
    upgrade(settings.registry.conninfo())
    return settings


def start_workers(
    settings: Settings, *, concurrency: Concurrency | None = None, bound_to_caller: bool = False, flower: bool = True
) -> StackStatus:
    """One worker per queue, beat and Flower, under the stack's supervisor. What runs already is left alone."""
    stack = stack_of(settings)
    environment = {**process_environment(), "PYTHONUNBUFFERED": "1"}
    if settings.config_file is not None:
        environment["FORKYARD_CONFIG"] = str(settings.config_file.resolve())
    cwd = (settings.config_file.parent if settings.config_file else Path.cwd()).resolve()
    for name, argv, address in _processes(settings, concurrency or Concurrency(), flower=flower):
        more = dict(environment)
        if name == "flower":
            password = settings.flower.password
            more["FLOWER_BASIC_AUTH"] = f"{settings.flower.user}:{password.get_secret_value() if password else ''}"
        stack.start(name, argv, env=more, cwd=cwd, address=address, bound_to_caller=bound_to_caller, stop=WARM_STOP)
    return _alive(stack)


def _alive(stack: Stack) -> StackStatus:
    """The status, once every process has had the time to fail at its start."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        status = stack.status()
        crashed = [service for service in status.services if service.state is ServiceState.CRASHED]
        if crashed:
            names = ", ".join(service.name for service in crashed)
            raise StackError(f"{names} ended at once: see {crashed[0].log} for the reason.")
        if all((service.uptime_seconds or 0) >= START_SECONDS for service in status.services):
            break
        time.sleep(0.1)
    return stack.status()


def take_down(settings: Settings, *, destroy: bool = False) -> StackStatus:
    """Workers first, then the servers. `destroy` also removes their data, for good."""
    return stack_of(settings).down(destroy=destroy)


def _processes(settings: Settings, size: Concurrency, *, flower: bool) -> Iterator[tuple[str, list[str], str]]:
    celery = [sys.executable, "-m", "celery", "-A", "workers.app"]
    for queue in ("agents", "steps", "gc"):
        yield (
            f"worker-{queue}",
            [*celery, "worker", "-Q", queue, "-n", f"{queue}@%h", "-c", str(getattr(size, queue)), "-l", "INFO", "-E"],
            "",
        )
    schedule = settings.state_dir.resolve() / "celerybeat-schedule"
    yield "beat", [*celery, "beat", "-s", str(schedule), "--pidfile=", "-l", "INFO"], ""
    if flower and settings.flower.password is not None:
        port = settings.flower.port
        yield (
            "flower",
            [*celery, "flower", "--address=127.0.0.1", f"--port={port}", "--read_only=True"],
            f"127.0.0.1:{port}",
        )


def _prepare(settings: Settings, stack: Stack) -> None:
    """Logins and the registry's database, and the secrets file that names them. Idempotent."""
    known = settings.registry.password
    registry_password = known.get_secret_value() if known else secrets.token_urlsafe(24)
    host = settings.fork_host.password if settings.fork_host else None
    host_password = host.get_secret_value() if host else secrets.token_urlsafe(24)
    with psycopg.connect(stack.postgres_url(), autocommit=True) as admin:
        _ensure_login(admin, REGISTRY_LOGIN, registry_password, "NOCREATEDB")
        _ensure_login(admin, HOST_LOGIN, host_password, "CREATEDB CREATEROLE")
        found = admin.execute("SELECT FROM pg_database WHERE datname = %s", (REGISTRY_DATABASE,)).fetchone()
        if found is None:
            names = sql.Identifier(REGISTRY_DATABASE), sql.Identifier(REGISTRY_LOGIN)
            admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*names))
            admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(names[0]))
    server, _ = split_password(stack.postgres_url())
    update_secrets(
        settings.secrets_file,
        {
            "installation_key": settings.installation_key.get_secret_value()
            if settings.installation_key
            else new_key(),
            "registry": {"url": _as(server, REGISTRY_LOGIN, REGISTRY_DATABASE), "password": registry_password},
            "fork_host": {"url": _as(server, HOST_LOGIN, "postgres"), "password": host_password},
            "broker": {"url": stack.valkey_url()},
            "flower": _flower(settings),
        },
    )


def _flower(settings: Settings) -> dict[str, object]:
    if settings.flower.password is not None:
        return {"port": settings.flower.port, "password": settings.flower.password.get_secret_value()}
    return {"port": choose_port(), "password": secrets.token_urlsafe(12)}


def _ensure_login(admin: psycopg.Connection, name: str, password: str, rights: str) -> None:
    found = admin.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
    verb = sql.SQL("CREATE" if found is None else "ALTER")
    verifier = admin.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    admin.execute(
        sql.SQL("{} ROLE {} LOGIN {} PASSWORD {}").format(
            verb, sql.Identifier(name), sql.SQL(rights), sql.Literal(verifier)
        )
    )


def _as(server: str, user: str, dbname: str) -> str:
    parts = psycopg.conninfo.conninfo_to_dict(server)
    return f"postgresql://{user}@{parts['host']}:{parts['port']}/{dbname}"
