"""One installation for all chaos tests: every test has a project of its own in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import StackError
from tests.chaos.arena import Arena
from tests.conftest import service_missing

SEED = int(os.environ.get("FORKYARD_CHAOS_SEED", "20260"))


@pytest.fixture(scope="session")
def shared() -> Iterator[Arena]:
    folder = Path(tempfile.mkdtemp(prefix="forkyard-chaos-"))
    # Run by root, the servers drop to another account, which must be able to pass.
    folder.chmod(0o711)
    found = Arena(folder, seed=SEED)
    try:
        found.installation.start()
    except StackError as exc:
        shutil.rmtree(folder, ignore_errors=True)
        service_missing(str(exc))
    try:
        yield found
    finally:
        found.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def arena(shared: Arena) -> Arena:
    """The installation with everything up again, whatever the test before did to it."""
    shared.bring_back()
    shared.random.seed(shared.seed)
    return shared
