"""What the conformance suite needs besides a provider: a way to look at its work from outside.

The suite believes nothing that a provider says of itself: rows, sessions and leftovers are seen through a lab,
which the author of a provider writes once. `postgres_lab.py` has one for providers whose forks are databases of
one Postgres server, `fake_provider.py` one for the fake.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

from orchestrator.forks.base import Provider, Resource, Stamp
from orchestrator.forks.names import parse_name, resource_name


class LoginRefused(Exception):
    """A lab could not connect, or lost its session."""


class WriteRefused(Exception):
    """A login that may only read tried to write."""


class LabSession(Protocol):
    """An open session at the place of the forks."""

    def alive(self) -> bool:
        """Whether the server still answers on it."""

    def close(self) -> None: ...


class ProviderLab(ABC):
    """One provider, one target with a table of notes (key → value), and eyes of one's own."""

    def __init__(self, provider: Provider, *, installation: str, neighbour: Provider, neighbour_id: str) -> None:
        """`neighbour`: the same provider at the same place under another installation's id."""
        self.provider = provider
        self.installation = installation
        self.neighbour = neighbour
        self.neighbour_id = neighbour_id
        self._began = datetime.now(UTC).replace(microsecond=0)
        self._ids = itertools.count(1)
        self._baseline: str | None = None

    @property
    @abstractmethod
    def source(self) -> str:
        """The target's conninfo. At first it holds one note: origin → target."""

    @property
    @abstractmethod
    def unreachable_source(self) -> str:
        """A conninfo where nothing answers."""

    @abstractmethod
    def connect(self, conninfo: str) -> LabSession:
        """Raises LoginRefused."""

    @abstractmethod
    def read(self, conninfo: str) -> Mapping[str, str]:
        """All notes. Raises LoginRefused."""

    @abstractmethod
    def write(self, conninfo: str, key: str, value: str) -> None:
        """Set one note. Raises LoginRefused, WriteRefused."""

    @abstractmethod
    def census(self) -> frozenset[Resource]:
        """All that exists at the place under the names of the lab's two installations, whoever made it."""

    @abstractmethod
    def restamp(self, name: str, text: str | None) -> None:
        """Replace the stamp of a baseline or fork behind the provider's back (None: as if it had died before)."""

    @abstractmethod
    def lose_database(self, name: str) -> None:
        """Remove a fork's data behind the provider's back, and leave what else belongs to it."""

    # What tests are made of

    def name(self, kind: Literal["baseline", "fork"], *, neighbour: bool = False) -> str:
        """A name that was not used yet."""
        return resource_name(self.neighbour_id if neighbour else self.installation, kind, next(self._ids))

    def stamp(self, name: str, *, run: str | None = None, hours: float = 24, neighbour: bool = False) -> Stamp:
        """The stamp that belongs to a name; the same arguments give the same stamp."""
        parsed = parse_name(name)
        assert parsed is not None, f"{name} is no name of ours"
        return Stamp(
            installation=self.neighbour_id if neighbour else self.installation,
            project="shop",
            kind=parsed.kind,
            resource_id=parsed.resource_id,
            run=run,
            expires_at=self._began + timedelta(hours=hours) if parsed.kind == "fork" else None,
        )

    def new_baseline(self) -> str:
        """A baseline of its own, for tests that change or remove it."""
        name = self.name("baseline")
        self.provider.create_baseline(name, source=self.source, stamp=self.stamp(name))
        return name

    @property
    def baseline(self) -> str:
        """The baseline that tests share and must not change."""
        if self._baseline is None:
            self._baseline = self.new_baseline()
        return self._baseline

    def new_fork(self, *, opened: bool = True, hours: float = 24) -> str:
        """A fork of the shared baseline."""
        name = self.name("fork")
        self.provider.create(name, baseline=self.baseline, stamp=self.stamp(name, hours=hours))
        if opened:
            self.provider.open(name, stamp=self.stamp(name, run="trial/a#1", hours=hours))
        return name

    def refuses(self, conninfo: str) -> bool:
        """Whether nobody gets in with that conninfo."""
        try:
            self.connect(conninfo).close()
        except LoginRefused:
            return True
        return False
