"""A whole installation in one process, for the few tests that need real forks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.shop import Shop


@pytest.fixture
def shop(registry: str, fresh_database: Callable[..., str], admin_url: str, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path, registry=registry, target=fresh_database("shop"), host=admin_url)
    yield made
    made.close()
