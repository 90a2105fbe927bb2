"""What a provider of forks must do: the seam between Forkyard and the ways to copy a database.

Every method may run twice, after a lost answer or by two workers at once, and must then leave what one call
would have left. Names are given by the caller (`names.py`) and recorded before the provider is asked.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal, Self


class Login(StrEnum):
    """Who connects to a fork: the agent while it runs, or capture afterwards (same rights, other password)."""

    AGENT = "agent"
    CAPTURE = "capture"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider can promise; a command that needs more says so in one sentence."""

    pool: bool
    """Forks can be made ahead of need and handed out later."""
    physical_identity: bool
    """A fork keeps the object identities (OIDs) of its baseline."""
    expires_by_itself: bool
    """The provider deletes an expired fork even when Forkyard never comes back."""
    transactional_ddl: bool
    """Schema changes take part in transactions, so a merge with migrations is atomic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """The owner's mark that every resource carries at the provider."""

    installation: str
    project: str
    kind: Literal["baseline", "fork"]
    resource_id: int
    run: str | None = None
    expires_at: datetime | None = None

    def to_json(self) -> str:
        fields = {
            "forkyard": 1,
            "installation": self.installation,
            "project": self.project,
            "kind": self.kind,
            "resource_id": self.resource_id,
            "run": self.run,
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
        }
        return json.dumps(fields, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | None) -> Self | None:
        """The stamp in a comment or label, or None where there is none of ours."""
        try:
            fields = json.loads(text or "")
            if not isinstance(fields, dict) or fields.pop("forkyard", None) != 1:
                return None
            expires_at = fields.pop("expires_at", None)
            return cls(**fields, expires_at=datetime.fromisoformat(expires_at) if expires_at else None)
        except (ValueError, TypeError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Resource:
    """One thing that exists outside of Forkyard and must be gone in the end: a database, a role, a folder, …"""

    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One baseline or fork that the provider lists. `stamp` is None where the resource carries none (yet)."""

    name: str
    kind: Literal["baseline", "fork"]
    stamp: Stamp | None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One result of a check for `doctor`: what was looked at, whether it is well, and what to do if not."""

    subject: str
    ok: bool
    detail: str
    fix: str = ""


class Provider(ABC):
    """Copies databases. Raises only `ProviderError`s and `UserError`s (unreachable, privilege missing)."""

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]

    @abstractmethod
    def create_baseline(self, name: str, *, source: str, stamp: Stamp) -> None:
        """Copy the database at `source` (conninfo, password included) and seal the copy.

        The source stays online and is only read. An unfinished copy of the same name is replaced.
        """

    @abstractmethod
    def destroy_baseline(self, name: str) -> None:
        """Remove a baseline; nothing to do if it is gone. Raises ForeignResource for what is not ours."""

    @abstractmethod
    def baseline_conninfo(self, name: str) -> str:
        """How capture reads the baseline's rows (read-only login, password included)."""

    @abstractmethod
    def create(self, name: str, *, baseline: str, stamp: Stamp) -> None:
        """Copy the baseline into a fork that no agent can reach yet. An existing fork of that name is replaced.

        Raises BaselineMissing, BaselineBusy, CapacityExceeded, ProviderUnavailable.
        """

    @abstractmethod
    def inspect_conninfo(self, name: str) -> str:
        """How a fork that is created and not yet open is looked at (fingerprint): a read-only login.

        Refused from the fork's first `open` on. Derived, not stored; makes no connection.
        """

    @abstractmethod
    def open(self, name: str, *, stamp: Stamp) -> None:
        """Make the fork reachable for its agent (login, grants) and write the final stamp."""

    @abstractmethod
    def close(self, name: str) -> None:
        """End the agent's access for good, its sessions included; capture can still log in."""

    @abstractmethod
    def conninfo(self, name: str, login: Login) -> str:
        """A libpq URL for the fork, password included. Derived, not stored; makes no connection."""

    @abstractmethod
    def destroy(self, name: str) -> None:
        """Remove the fork and all that belongs to it; nothing to do if it is gone.

        Right before the delete the name and the stamp are read again: raises ForeignResource for what is not ours.
        """

    @abstractmethod
    def resources(self, name: str) -> tuple[Resource, ...]:
        """What a fork of that name consists of (for intent rows and receipts); makes no connection."""

    @abstractmethod
    def present(self, name: str) -> frozenset[Resource]:
        """Which of `resources(name)` exist now."""

    @abstractmethod
    def list(self) -> Iterable[Found]:
        """Every baseline and fork of this installation, those without a record of ours included.

        Raises rather than return a part: an incomplete listing must never look like an empty one.
        """

    @abstractmethod
    def check(self) -> Iterable[Finding]:
        """Look at privileges, copy-on-write, settings: for `doctor`."""
