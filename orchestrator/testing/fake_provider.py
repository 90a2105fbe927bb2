"""A provider in memory that keeps the contract of the real ones, for tests of steps and sweeps.

server = FakeServer()
provider = FakeProvider(server, installation=..., key=b"…")
provider.fail_next("create", CapacityExceeded())              # asked, and refused
provider.fail_next("create", ProviderUnavailable(), after=True)  # done, and the answer lost
provider.before("open", lambda name: ...)                     # whatever should happen just then
provider.calls                                                # [("create", "fy_…_f1"), …]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from orchestrator.errors import BaselineMissing, ForeignResource, ForkMissing, ForkyardError
from orchestrator.forks.base import Capabilities, Finding, Found, Login, Provider, Resource, Stamp
from orchestrator.forks.names import parse_name, short_installation
from orchestrator.secrets import derive
from orchestrator.testing.fake_server import FakeDatabase, FakeRole, FakeServer

_READER = "reader"


class FakeProvider(Provider):
    """Databases and roles in a `FakeServer`, which several providers (installations, workers) may share."""

    name: ClassVar[str] = "fake"
    capabilities: ClassVar[Capabilities] = Capabilities(
        pool=True, physical_identity=True, expires_by_itself=False, transactional_ddl=True
    )

    def __init__(self, server: FakeServer, *, installation: str, key: bytes) -> None:
        self.server = server
        self.calls: list[tuple[str, str]] = []
        self._installation = installation
        self._key = key
        self._errors: dict[str, list[tuple[ForkyardError, bool]]] = {}
        self._hooks: dict[str, Callable[[str], None]] = {}

    # Hooks for tests

    def fail_next(self, operation: str, error: ForkyardError, *, after: bool = False) -> None:
        """The next call of that method raises `error`: before it does anything, or (`after`) when all is done."""
        self._errors.setdefault(operation, []).append((error, after))

    def before(self, operation: str, hook: Callable[[str], None] | None) -> None:
        """Every call of that method first calls `hook` with the name; None takes it away."""
        if hook is None:
            self._hooks.pop(operation, None)
        else:
            self._hooks[operation] = hook

    # Baselines

    def create_baseline(self, name: str, *, source: str, stamp: Stamp) -> None:
        with self._asked("create_baseline", name):
            self._require_ours(name, "baseline", stamp)
            rows = self.server.rows_of_target(source)
            self._drop(name)
            self.server.roles[self._reader] = FakeRole(password=self._secret(_READER), read_only=True)
            self.server.databases[name] = FakeDatabase(rows=rows, stamp=stamp.to_json(), logins={self._reader})

    def destroy_baseline(self, name: str) -> None:
        with self._asked("destroy_baseline", name):
            self._require_ours(name, "baseline")
            self._drop(name)

    def baseline_conninfo(self, name: str) -> str:
        return self.server.url(self._reader, self._secret(_READER), name)

    # Forks

    def create(self, name: str, *, baseline: str, stamp: Stamp) -> None:
        with self._asked("create", name):
            self._require_ours(name, "fork", stamp)
            sealed = self.server.databases.get(baseline)
            if sealed is None or self._stamp(baseline) is None:
                raise BaselineMissing(f'The baseline "{baseline}" does not exist.')
            self._drop(name)
            self.server.databases[name] = FakeDatabase(
                rows=dict(sealed.rows), stamp=stamp.to_json(), logins={self._reader}
            )

    def inspect_conninfo(self, name: str) -> str:
        return self.server.url(self._reader, self._secret(_READER), name)

    def open(self, name: str, *, stamp: Stamp) -> None:
        with self._asked("open", name):
            self._require_ours(name, "fork", stamp)
            fork, _ = self._require_fork(name)
            self._let_in(name, Login.AGENT, stamp)
            fork.stamp = stamp.to_json()

    def close(self, name: str) -> None:
        with self._asked("close", name):
            _, stamp = self._require_fork(name)
            self.server.end_sessions(name)
            self._let_in(name, Login.CAPTURE, stamp)

    def conninfo(self, name: str, login: Login) -> str:
        return self.server.url(name, self._secret("fork", name, login), name)

    def destroy(self, name: str) -> None:
        with self._asked("destroy", name):
            self._require_ours(name, "fork")
            self._drop(name)

    def resources(self, name: str) -> tuple[Resource, ...]:
        return Resource(kind="database", name=name), Resource(kind="role", name=name)

    def present(self, name: str) -> frozenset[Resource]:
        with self._asked("present", name):
            return frozenset(self.resources(name)) & self.server.census()

    def list(self) -> Iterable[Found]:
        with self._asked("list", ""):
            names = sorted({resource.name for resource in self.server.census()})
            found = []
            for name in names:
                parsed, stamp = parse_name(name), Stamp.from_json(self.server.stamp_of(name))
                if parsed is None or parsed.installation != short_installation(self._installation):
                    continue
                if stamp is None or stamp.installation == self._installation:
                    found.append(Found(name=name, kind=parsed.kind, stamp=stamp))
            return tuple(found)

    def check(self) -> Iterable[Finding]:
        with self._asked("check", ""):
            return (Finding(subject="fake", ok=True, detail="in memory"),)

    # What the above is made of

    @property
    def _reader(self) -> str:
        return f"fy_{short_installation(self._installation)}_reader"

    def _secret(self, *purpose: str) -> str:
        return derive(self._key, *purpose)

    @contextmanager
    def _asked(self, operation: str, name: str) -> Iterator[None]:
        self.calls.append((operation, name))
        if hook := self._hooks.get(operation):
            hook(name)
        planned = self._errors.get(operation)
        error, after = planned.pop(0) if planned else (None, False)
        if error and not after:
            raise error
        with self.server.lock:
            yield
        if error:
            raise error

    def _require_ours(self, name: str, kind: Literal["baseline", "fork"], stamp: Stamp | None = None) -> None:
        parsed = parse_name(name)
        if parsed is None or (parsed.kind, parsed.installation) != (kind, short_installation(self._installation)):
            raise ForeignResource(f'"{name}" is no {kind} of this installation; it is left alone.')
        if stamp is not None:
            self._require_our_stamp(name, stamp)

    def _require_our_stamp(self, name: str, stamp: Stamp | None) -> None:
        parsed = parse_name(name)
        expected = (self._installation, parsed.kind, parsed.resource_id) if parsed else None
        if stamp is None or (stamp.installation, stamp.kind, stamp.resource_id) != expected:
            raise ForeignResource(f'"{name}" does not carry this installation\'s stamp; it is left alone.')

    def _stamp(self, name: str) -> Stamp | None:
        """The stamp, None where there is none at all. Raises ForeignResource for anybody else's."""
        text = self.server.stamp_of(name)
        if not text:
            return None
        stamp = Stamp.from_json(text)
        self._require_our_stamp(name, stamp)
        return stamp

    def _require_fork(self, name: str) -> tuple[FakeDatabase, Stamp]:
        self._require_ours(name, "fork")
        fork = self.server.databases.get(name)
        stamp = self._stamp(name) if fork else None
        if fork is None or stamp is None:
            raise ForkMissing(f'The fork "{name}" does not exist.')
        return fork, stamp

    def _let_in(self, name: str, login: Login, stamp: Stamp) -> None:
        self.server.roles[name] = FakeRole(
            password=self._secret("fork", name, login),
            expires_at=stamp.expires_at if login is Login.AGENT else None,
        )
        self.server.databases[name].logins = {name}

    def _drop(self, name: str) -> None:
        self._stamp(name)
        self.server.end_sessions(name)
        self.server.databases.pop(name, None)
        self.server.roles.pop(name, None)
