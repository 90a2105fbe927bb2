"""The suite is worth something only if it fails what deserves it: one fake per sin, and the behaviours that see it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.errors import ProviderUnavailable
from orchestrator.forks.base import Found, Login, Resource, Stamp
from orchestrator.testing import provider_conformance as suite
from orchestrator.testing.fake_lab import FakeLab
from orchestrator.testing.fake_provider import FakeProvider


class LiesAboutDeletion(FakeProvider):
    """Says that a fork is gone, and keeps it."""

    _hidden: frozenset[str] = frozenset()

    def destroy(self, name: str) -> None:
        self._require_ours(name, "fork")
        self._hidden |= {name}

    def present(self, name: str) -> frozenset[Resource]:
        return frozenset() if name in self._hidden else super().present(name)

    def list(self) -> Iterable[Found]:
        return tuple(found for found in super().list() if found.name not in self._hidden)


class DeletesForeign(FakeProvider):
    """Deletes whatever has the name, whoever's it is."""

    def destroy(self, name: str) -> None:
        self.server.databases.pop(name, None)
        self.server.roles.pop(name, None)


class TrustsTheName(FakeProvider):
    """Looks at the name, but not at the stamp."""

    def _stamp(self, name: str) -> Stamp | None:
        return Stamp.from_json(self.server.stamp_of(name))


class ForgetsTheStamp(FakeProvider):
    """Makes forks that nobody knows the owner of."""

    def create(self, name: str, *, baseline: str, stamp: Stamp) -> None:
        super().create(name, baseline=baseline, stamp=stamp)
        self.server.databases[name].stamp = None


class KeepsTheFirstStamp(FakeProvider):
    """Hands a pooled fork out without writing whose it is now."""

    def open(self, name: str, *, stamp: Stamp) -> None:
        first = self._require_fork(name)[1]
        super().open(name, stamp=stamp)
        self.server.databases[name].stamp = first.to_json()


class LeaksTheRole(FakeProvider):
    """Removes the database and leaves the login."""

    def destroy(self, name: str) -> None:
        role = self.server.roles.get(name)
        super().destroy(name)
        if role is not None:
            self.server.roles[name] = role


class SharesRows(FakeProvider):
    """Every fork is the baseline itself."""

    def create(self, name: str, *, baseline: str, stamp: Stamp) -> None:
        super().create(name, baseline=baseline, stamp=stamp)
        self.server.databases[name].rows = self.server.databases[baseline].rows


class ForgetsExpiry(FakeProvider):
    """Lets an agent in for ever."""

    def open(self, name: str, *, stamp: Stamp) -> None:
        super().open(name, stamp=stamp)
        self.server.roles[name].expires_at = None


class ClosesNothing(FakeProvider):
    """Lets capture in, and leaves the agent's sessions alone."""

    def close(self, name: str) -> None:
        stamp = self._require_fork(name)[1]
        self._let_in(name, Login.CAPTURE, stamp)


class OnePasswordForAll(FakeProvider):
    """Derives no password per fork."""

    def _secret(self, *purpose: str) -> str:
        return super()._secret(purpose[0], *purpose[2:])


class FailsAfterSuccess(FakeProvider):
    """A fork that exists already is an error, so a lost answer cannot be repeated."""

    def create(self, name: str, *, baseline: str, stamp: Stamp) -> None:
        if name in self.server.databases:
            raise ProviderUnavailable(f"{name} exists")
        super().create(name, baseline=baseline, stamp=stamp)


class ListsHalf(FakeProvider):
    """A listing that stops after its first page."""

    def list(self) -> Iterable[Found]:
        return tuple(super().list())[:1]


class ListsLate(FakeProvider):
    """A listing with stamps from before."""

    def list(self) -> Iterable[Found]:
        return tuple(
            replace(found, stamp=replace(found.stamp, expires_at=found.stamp.expires_at - timedelta(hours=1)))
            if found.stamp and found.stamp.expires_at
            else found
            for found in super().list()
        )


class OpensAtOnce(FakeProvider):
    """A fork is reachable as soon as it exists."""

    def create(self, name: str, *, baseline: str, stamp: Stamp) -> None:
        super().create(name, baseline=baseline, stamp=stamp)
        super().open(name, stamp=stamp)


class UnsealsTheBaseline(FakeProvider):
    """Capture's login may write into the baseline."""

    def create_baseline(self, name: str, *, source: str, stamp: Stamp) -> None:
        super().create_baseline(name, source=source, stamp=stamp)
        self.server.roles[self._reader].read_only = False


SINS: tuple[tuple[type[FakeProvider], str], ...] = (
    (LiesAboutDeletion, "a_destroyed_fork_leaves_nothing"),
    (DeletesForeign, "a_fork_of_another_installation_is_left_alone"),
    (DeletesForeign, "strange_names_are_left_alone"),
    (TrustsTheName, "a_fork_with_another_stamp_is_left_alone"),
    (ForgetsTheStamp, "listings_carry_the_stamps"),
    (KeepsTheFirstStamp, "opening_writes_the_final_stamp"),
    (LeaksTheRole, "a_destroyed_fork_leaves_nothing"),
    (LeaksTheRole, "present_tells_the_truth"),
    (SharesRows, "two_forks_never_see_each_other"),
    (SharesRows, "a_fork_leaves_its_baseline_and_the_target_alone"),
    (ForgetsExpiry, "an_expired_fork_lets_no_agent_in"),
    (ClosesNothing, "closing_ends_the_agents_access_for_good"),
    (OnePasswordForAll, "one_forks_password_opens_no_other_fork"),
    (FailsAfterSuccess, "a_fork_made_twice_is_one_fresh_fork"),
    (ListsHalf, "listings_carry_the_stamps"),
    (ListsLate, "listings_carry_the_stamps"),
    (OpensAtOnce, "no_agent_gets_into_a_fork_before_it_is_open"),
    (UnsealsTheBaseline, "a_baseline_can_be_read_and_not_written"),
)


@pytest.mark.parametrize(("sinner", "behaviour"), SINS, ids=[f"{kind.__name__}-{name}" for kind, name in SINS])
def test_the_suite_fails_a_broken_provider(sinner: type[FakeProvider], behaviour: str) -> None:
    tried = {each.__name__: each for each in suite.BEHAVIOURS}[behaviour]
    with pytest.raises((AssertionError, ProviderUnavailable)):
        tried(FakeLab(sinner))
