"""A whole installation in one process, for the few tests that need real forks. They share it, and its target: each
takes rows of its own, and none changes the target's schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from orchestrator.store import upgrade
from tests.shop import Shop


@pytest.fixture(scope="session")
def opened_shop(
    databases: Callable[[str], str], admin_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    registry = databases("registry")
    upgrade(registry)
    made = Shop(tmp_path_factory.mktemp("shop"), registry=registry, target=databases("shop"), host=admin_url)
    yield made
    made.close()


@pytest.fixture
def shop(opened_shop: Shop) -> Iterator[Shop]:
    """The shop with nothing under way, and everything as it was afterwards."""
    settings = opened_shop.context.settings
    yield opened_shop
    opened_shop.context.settings = settings
    opened_shop.dispatcher.forget()
    assert opened_shop.left() == []
