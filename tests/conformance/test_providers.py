"""Every provider, one suite."""

from __future__ import annotations

import pytest

from orchestrator.testing import provider_conformance as suite
from orchestrator.testing.fake_lab import FakeLab
from orchestrator.testing.provider_lab import ProviderLab

every_behaviour = pytest.mark.parametrize("behaviour", suite.BEHAVIOURS, ids=lambda behaviour: behaviour.__name__)


@every_behaviour
def test_the_clone_provider(behaviour: suite.Behaviour, clone_lab: ProviderLab) -> None:
    behaviour(clone_lab)


@every_behaviour
def test_the_fake_provider(behaviour: suite.Behaviour) -> None:
    behaviour(FakeLab())


def test_the_suite_holds_every_behaviour_of_its_module() -> None:
    written = {name for name, thing in vars(suite).items() if getattr(thing, "__annotations__", {}).get("lab")}
    assert {behaviour.__name__ for behaviour in suite.BEHAVIOURS} == {n for n in written if not n.startswith("_")}
    assert len(suite.BEHAVIOURS) >= 40
