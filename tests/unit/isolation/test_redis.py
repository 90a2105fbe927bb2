from __future__ import annotations

import pytest

from orchestrator.errors import NotPossible
from orchestrator.isolation.redis import RedisNamespace


class Server:
    """What a server of some version says and is told."""

    def __init__(self, **versions: str) -> None:
        self.versions = versions
        self.commands: list[tuple[str, ...]] = []

    def info(self, section: str) -> dict[str, str]:
        return self.versions if section == "server" else {}

    def execute_command(self, *words: str) -> None:
        self.commands.append(words)


def namespace(url: str, server: Server) -> RedisNamespace:
    made = RedisNamespace(url)
    made._client = server
    return made


@pytest.mark.parametrize(
    ("admin", "expected"),
    [
        ("redis://:pw@host:7000/3", "redis://fy_a:p%40w@host:7000/3"),
        ("rediss://u:pw@host?ssl_cert_reqs=none", "rediss://fy_a:p%40w@host/0?ssl_cert_reqs=none"),
        ("redis://[::1]:7000", "redis://fy_a:p%40w@[::1]:7000/0"),
        ("unix://u:pw@/run/redis.sock?db=2", "unix://fy_a:p%40w@/run/redis.sock?db=2"),
    ],
)
def test_the_agents_url_is_the_administrators_with_another_login(admin: str, expected: str) -> None:
    server = Server(redis_version="7.2.4")
    assert namespace(admin, server).acquire("fy_a", password="p@w") == expected


@pytest.mark.parametrize(
    "versions", [{"redis_version": "7.2.4"}, {"redis_version": "7.2.4", "valkey_version": "9.0.1"}]
)
def test_an_older_server_separates_by_prefix_whatever_number_is_given(versions: dict[str, str]) -> None:
    server = Server(**versions)
    assert namespace("redis://host/0", server).acquire("fy_a", password="pw", database=5).endswith("/0")
    [rules] = server.commands
    assert "~fy_a:*" in rules
    assert "resetdbs" not in rules
    assert "-scan" in rules


def test_a_server_that_cannot_separate_agents_is_refused() -> None:
    with pytest.raises(NotPossible, match=r"Redis 6\.2\.14 cannot"):
        namespace("redis://host/0", Server(redis_version="6.2.14")).acquire("fy_a", password="pw")
