"""The composition root: a Context from Settings. The only place where the parts are put together."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from importlib import import_module

from orchestrator.errors import SettingsError
from orchestrator.forks import open_provider
from orchestrator.forks.base import Provider
from orchestrator.settings import Settings
from orchestrator.steps.context import Context, Dispatcher
from orchestrator.steps.identity import host_name, owner_name
from orchestrator.store import Store


def open_context(settings: Settings) -> Context:
    """The context of this process. Reads the installation's id, so the registry must answer and be upgraded.

    Raises SettingsError where this process has another installation key than the one that the registry knows.
    """
    store = Store(settings.registry.conninfo())
    installation = store.projects.installation()
    check = hmac.new(settings.key, b"forkyard key check", hashlib.sha256).hexdigest()[:32]
    if not store.projects.check_key(check):
        raise SettingsError("This process has another installation key than the registry knows; give it the same one.")

    def make_provider(name: str, host_conninfo: str, agent_connections: int) -> Provider:
        return open_provider(
            name,
            host_conninfo=host_conninfo,
            installation=installation,
            key=settings.key,
            scratch_dir=settings.state_dir / "scratch",
            connection_limit=agent_connections,
        )

    return Context(
        settings=settings,
        store=store,
        dispatcher=_dispatcher(settings),
        make_provider=make_provider,
        installation=installation,
        owner=owner_name(),
        host=host_name(),
    )


def _dispatcher(settings: Settings) -> Dispatcher:
    """The task queue's side, by name: the domain imports no task queue."""
    module, _, attribute = settings.dispatcher.partition(":")
    try:
        kind: Callable[[Settings], Dispatcher] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as exc:
        raise SettingsError(f"dispatcher = {settings.dispatcher!r} cannot be loaded: {exc}.") from exc
    return kind(settings)
