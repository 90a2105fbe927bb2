"""The installation that acceptance tests share, with real servers, workers, beat and Flower."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import StackError
from tests.acceptance.site import PASSED_ON, SETTINGS, Site
from tests.conftest import service_missing
from tests.installation import Installation


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="forkyard-acceptance-"))
    # Run by root, the servers drop to another account, which must be able to pass.
    folder.chmod(0o711)
    installation = Installation(folder, settings=SETTINGS)
    # Set before the workers start: they pass it on to agents of variants that name it.
    os.environ[PASSED_ON] = passed_on = "pk-" + secrets.token_urlsafe(24)
    try:
        installation.start(flower=True)
    except StackError as exc:
        shutil.rmtree(folder, ignore_errors=True)
        service_missing(str(exc))
    try:
        yield Site(installation, passed_on=passed_on)
    finally:
        del os.environ[PASSED_ON]
        installation.stop()
        shutil.rmtree(folder, ignore_errors=True)
