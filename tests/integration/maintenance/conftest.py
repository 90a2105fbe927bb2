"""Sweeps, run as beat's messages run them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.maintenance import SWEEPS, Finding, run_sweep
from orchestrator.steps.context import Context
from tests.world import World

Sweeper = Callable[..., dict[str, str]]


@pytest.fixture
def sweep(world: World) -> Sweeper:
    """`sweep("expire")` does one pass and gives what became of each thing that it looked at: action by name."""

    def once(name: str, *, dry_run: bool = False, context: Context | None = None) -> dict[str, str]:
        findings = run_sweep(context or world.context, name, SWEEPS[name], dry_run=dry_run)
        assert findings is not None
        return {finding.name: finding.action for finding in findings if isinstance(finding, Finding)}

    return once
