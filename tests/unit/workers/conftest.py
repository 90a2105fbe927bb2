"""The application of the workers without a broker: what it would publish is caught on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from celery.backends.cache import CacheBackend, DummyClient

from orchestrator.settings import Settings
from workers.app import app, configure


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message as it goes to the broker."""

    task: str
    queue: str
    args: list[object]
    headers: dict[str, Any]
    chain: list[dict[str, Any]]
    errbacks: list[dict[str, Any]]
    chord: dict[str, Any] | None


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Message]]:
    """`published()` gives the messages so far."""
    configure(Settings())
    messages: list[Message] = []

    def catch(producer: object, name: str, message: Any, **options: Any) -> None:
        args, _, embedded = message.body
        messages.append(
            Message(
                task=name,
                queue=getattr(options["queue"], "name", options["queue"]),
                args=list(args),
                headers=message.headers,
                # Celery keeps the rest of a chain in reverse.
                chain=[dict(step) for step in reversed(embedded["chain"] or [])],
                errbacks=[dict(callback) for callback in embedded["errbacks"] or []],
                chord=embedded["chord"],
            )
        )

    monkeypatch.setattr(DummyClient, "ping", lambda _: True, raising=False)
    monkeypatch.setitem(vars(app.amqp), "send_task_message", catch)
    monkeypatch.setattr(app._local, "backend", CacheBackend(app=app, backend="memory"), raising=False)
    return lambda: messages
