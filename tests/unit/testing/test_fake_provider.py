"""The hooks of the fake provider; that it keeps the contract is the conformance suite's to show."""

from __future__ import annotations

import pytest

from orchestrator.errors import CapacityExceeded, ProviderUnavailable
from orchestrator.testing.fake_lab import FakeLab
from orchestrator.testing.fake_provider import FakeProvider


@pytest.fixture
def lab() -> FakeLab:
    return FakeLab()


def _fake(lab: FakeLab) -> FakeProvider:
    assert isinstance(lab.provider, FakeProvider)
    return lab.provider


def test_a_planned_refusal_comes_once_and_before_anything_is_done(lab: FakeLab) -> None:
    name, baseline = lab.name("fork"), lab.baseline
    _fake(lab).fail_next("create", CapacityExceeded())
    with pytest.raises(CapacityExceeded):
        lab.provider.create(name, baseline=baseline, stamp=lab.stamp(name))
    assert not lab.provider.present(name)
    lab.provider.create(name, baseline=baseline, stamp=lab.stamp(name))
    assert lab.provider.present(name)


def test_a_lost_answer_comes_after_the_work_is_done(lab: FakeLab) -> None:
    name, baseline = lab.name("fork"), lab.baseline
    _fake(lab).fail_next("create", ProviderUnavailable(), after=True)
    with pytest.raises(ProviderUnavailable):
        lab.provider.create(name, baseline=baseline, stamp=lab.stamp(name))
    assert lab.provider.present(name)


def test_a_hook_runs_just_before_the_work(lab: FakeLab) -> None:
    fork, seen = lab.new_fork(), []
    _fake(lab).before("destroy", lambda name: seen.append((name, bool(lab.provider.present(name)))))
    lab.provider.destroy(fork)
    _fake(lab).before("destroy", None)
    lab.provider.destroy(fork)
    assert seen == [(fork, True)]


def test_every_call_is_written_down(lab: FakeLab) -> None:
    fork = lab.new_fork()
    assert _fake(lab).calls[-2:] == [("create", fork), ("open", fork)]
