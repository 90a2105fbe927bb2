"""The lab of the fake provider."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from orchestrator.forks.base import Resource
from orchestrator.testing.fake_provider import FakeProvider
from orchestrator.testing.fake_server import FakeServer, FakeSession
from orchestrator.testing.provider_lab import ProviderLab

_OURS = "11111111-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
_THEIRS = "22222222-bbbb-4bbb-8bbb-bbbbbbbbbbbb"


class FakeLab(ProviderLab):
    """`kind`: the class of the provider, so that broken ones can be tried as well."""

    def __init__(self, kind: type[FakeProvider] = FakeProvider) -> None:
        self.server = FakeServer(clock=lambda: datetime.now(UTC))
        self._source = self.server.add_target("shop", {"origin": "target"})
        super().__init__(
            kind(self.server, installation=_OURS, key=b"ours"),
            installation=_OURS,
            neighbour=kind(self.server, installation=_THEIRS, key=b"theirs"),
            neighbour_id=_THEIRS,
        )

    @property
    def source(self) -> str:
        return self._source

    @property
    def unreachable_source(self) -> str:
        return self.server.url("nobody", "nothing", "nowhere")

    def connect(self, conninfo: str) -> FakeSession:
        return self.server.connect(conninfo)

    def read(self, conninfo: str) -> Mapping[str, str]:
        return self.server.connect(conninfo).read()

    def write(self, conninfo: str, key: str, value: str) -> None:
        self.server.connect(conninfo).write(key, value)

    def census(self) -> frozenset[Resource]:
        return self.server.census()

    def restamp(self, name: str, text: str | None) -> None:
        self.server.databases[name].stamp = text

    def lose_database(self, name: str) -> None:
        self.server.end_sessions(name)
        del self.server.databases[name]
