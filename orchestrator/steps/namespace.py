"""The Redis namespace that is leased with a fork, where the project names a Redis or Valkey."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import CapacityExceeded, ForeignResource
from orchestrator.secrets import derive, with_url_password
from orchestrator.steps.context import Context
from orchestrator.store import Environment, Project

if TYPE_CHECKING:
    from orchestrator.isolation.redis import RedisNamespace

KIND = "redis"

DATABASES = 15
"""Redis servers have 16 databases by default; number 0 is the administrator's."""


def lease(context: Context, project: Project, environment: Environment) -> str | None:
    """The agent's REDIS_URL, with intent recorded first; None where the project has no Redis. May run twice.

    A numbered database of its own where one is free and the server can confine a login to it, else a key prefix.
    """
    server = _server(context, project)
    if server is None:
        return None
    context.store.environments.add_resources(environment.id, [(KIND, environment.name)])
    password = derive(context.settings.key, "redis", environment.name)
    for offset in range(DATABASES):
        try:
            number = 1 + (environment.id + offset) % DATABASES
            return server.acquire(environment.name, password=password, database=number)
        except (CapacityExceeded, ForeignResource):
            continue
    return server.acquire(environment.name, password=password)


def give_back(context: Context, project: Project, environment: Environment) -> bool:
    """End the login and remove its keys; nothing to do where there is none. True when nothing of it is left."""
    server = _server(context, project)
    if server is None:
        return True
    server.release(environment.name)
    empty = server.verify_empty(environment.name)
    if empty:
        context.store.environments.gone(environment.id, [(KIND, environment.name)])
    return empty


def _server(context: Context, project: Project) -> RedisNamespace | None:
    if project.redis_url is None:
        return None
    from orchestrator.isolation.redis import RedisNamespace  # here: half a second that most commands never need

    password = context.settings.project_secrets(project.name).redis_password
    return RedisNamespace(with_url_password(project.redis_url, password.get_secret_value() if password else None))
