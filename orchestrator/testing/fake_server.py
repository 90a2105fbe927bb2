"""What a `FakeProvider` makes its forks in: databases of notes, roles and sessions, in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

from orchestrator.errors import TargetUnreachable
from orchestrator.forks.base import Resource
from orchestrator.testing.provider_lab import LoginRefused, WriteRefused


@dataclass(slots=True, kw_only=True)
class FakeDatabase:
    rows: dict[str, str]
    stamp: str | None = None
    logins: set[str] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class FakeRole:
    password: str
    expires_at: datetime | None = None
    read_only: bool = False


@dataclass(slots=True, kw_only=True)
class FakeSession:
    """A login's session; ends with its database, or when the provider ends it."""

    database: FakeDatabase
    name: str
    read_only: bool
    open: bool = True

    def alive(self) -> bool:
        return self.open

    def close(self) -> None:
        self.open = False

    def read(self) -> dict[str, str]:
        if not self.open:
            raise LoginRefused("the session has ended")
        return dict(self.database.rows)

    def write(self, key: str, value: str) -> None:
        if not self.open:
            raise LoginRefused("the session has ended")
        if self.read_only:
            raise WriteRefused("this login may only read")
        self.database.rows[key] = value


class FakeServer:
    """Everything that exists, open to a test's eyes and hands. `clock` decides what has expired."""

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        self.databases: dict[str, FakeDatabase] = {}
        self.roles: dict[str, FakeRole] = {}
        self.lock = threading.RLock()
        self._sessions: list[FakeSession] = []
        self._clock = clock or (lambda: datetime.now(UTC))

    def add_target(self, name: str, rows: dict[str, str]) -> str:
        """A target with these notes; gives its conninfo."""
        self.databases[name] = FakeDatabase(rows=dict(rows), logins={name})
        self.roles[name] = FakeRole(password="target")
        return self.url(name, "target", name)

    def rows_of_target(self, conninfo: str) -> dict[str, str]:
        """Raises TargetUnreachable where nobody gets in."""
        try:
            session = self.connect(conninfo)
        except LoginRefused as exc:
            raise TargetUnreachable(f"The target does not answer: {exc}.") from exc
        return session.read()

    def url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{password}@fake.invalid/{database}"

    def connect(self, conninfo: str) -> FakeSession:
        """Raises LoginRefused."""
        parts = urlsplit(conninfo)
        user, name = unquote(parts.username or ""), parts.path.lstrip("/")
        with self.lock:
            role, database = self.roles.get(user), self.databases.get(name)
            if role is None or database is None or role.password != unquote(parts.password or ""):
                raise LoginRefused(f'no database "{name}" for "{user}" with that password')
            if user not in database.logins or (role.expires_at is not None and role.expires_at <= self._clock()):
                raise LoginRefused(f'"{user}" may not connect to "{name}" any more, or not yet')
            session = FakeSession(database=database, name=name, read_only=role.read_only)
            self._sessions.append(session)
            return session

    def end_sessions(self, name: str) -> None:
        for session in self._sessions:
            if session.name == name:
                session.close()
        self._sessions = [session for session in self._sessions if session.open]

    def stamp_of(self, name: str) -> str | None:
        database = self.databases.get(name)
        return database.stamp if database else None

    def census(self) -> frozenset[Resource]:
        databases = {Resource(kind="database", name=name) for name in self.databases}
        return frozenset(databases | {Resource(kind="role", name=name) for name in self.roles})
