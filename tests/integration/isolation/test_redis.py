from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from orchestrator.errors import (
    CapacityExceeded,
    ForeignResource,
    PrivilegeMissing,
    ProviderError,
    ProviderUnavailable,
    SettingsError,
)
from orchestrator.isolation.redis import RedisNamespace

PASSWORD = "p/w:with@odd?signs#"
Client = Any


@pytest.fixture
def admin(valkey_url: str) -> Iterator[Client]:
    with redis.Redis.from_url(valkey_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def namespaces(valkey_url: str) -> Iterator[RedisNamespace]:
    made = RedisNamespace(valkey_url)
    yield made
    made.close()


@pytest.fixture
def name(namespaces: RedisNamespace) -> Iterator[str]:
    made = f"fy_{uuid.uuid4().hex[:8]}_f1"
    yield made
    namespaces.release(made)


@pytest.fixture
def other(namespaces: RedisNamespace) -> Iterator[str]:
    made = f"fy_{uuid.uuid4().hex[:8]}_f2"
    yield made
    namespaces.release(made)


@pytest.fixture
def free(admin: Client) -> list[int]:
    """Numbers of databases in which nothing is, and that nobody holds."""
    numbers = range(1, int(admin.config_get("databases")["databases"]))
    busy = {int(key.removeprefix("db")) for key in admin.info("keyspace")}
    return [number for number in numbers if number not in busy and not admin.exists(f"forkyard:database:{number}")]


@pytest.fixture
def connect() -> Iterator[Callable[[str], Client]]:
    made: list[Client] = []

    def open_client(url: str) -> Client:
        made.append(redis.Redis.from_url(url, decode_responses=True))
        return made[-1]

    yield open_client
    for client in made:
        client.close()


def test_an_agent_does_what_it_likes_in_its_own_database(
    namespaces: RedisNamespace, name: str, free: list[int], connect: Callable[[str], Client]
) -> None:
    client = connect(namespaces.acquire(name, password=PASSWORD, database=free[0]))
    client.set("any key", "1")
    client.rpush("list", "2", "1")
    assert sorted(client.keys("*")) == ["any key", "list"]
    assert client.dbsize() == 2
    assert client.sort("list") == ["1", "2"]
    assert client.eval("return redis.call('GET', KEYS[1])", 1, "any key") == "1"
    assert client.publish(f"{name}:channel", "x") == 0
    client.flushdb()
    assert client.dbsize() == 0


FORBIDDEN = [
    ("FLUSHALL",),
    ("SWAPDB", "0", "1"),
    ("SELECT", "0"),
    ("COPY", "own", "own2", "DB", "0"),
    ("MOVE", "own", "0"),
    ("CONFIG", "GET", "*"),
    ("ACL", "LIST"),
    ("INFO",),
    ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("CLIENT", "TRACKING", "ON", "BCAST"),
    ("SCRIPT", "FLUSH"),
    ("FUNCTION", "LIST"),
    ("PUBLISH", "elsewhere", "x"),
    ("PUBSUB", "CHANNELS"),
    ("MONITOR",),
    ("MEMORY", "STATS"),
    ("SHUTDOWN",),
    ("DEBUG", "SLEEP", "0"),
]
FORBIDDEN_BESIDE_OTHERS = [
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("RANDOMKEY",),
    ("DBSIZE",),
    ("FLUSHDB",),
    ("SELECT", "1"),
    ("COPY", "own", "own2"),
]


@pytest.mark.parametrize("words", FORBIDDEN, ids=" ".join)
def test_an_agent_cannot_leave_its_database(
    namespaces: RedisNamespace, name: str, free: list[int], connect: Callable[[str], Client], words: tuple[str, ...]
) -> None:
    client = connect(namespaces.acquire(name, password=PASSWORD, database=free[0]))
    client.set("own", "1")
    with pytest.raises((NoPermissionError, ResponseError), match=r"No permissions|has no permissions|DEBUG command"):
        client.execute_command(*words)


@pytest.mark.parametrize("words", FORBIDDEN + FORBIDDEN_BESIDE_OTHERS, ids=" ".join)
def test_an_agent_cannot_leave_its_prefix(
    namespaces: RedisNamespace, name: str, connect: Callable[[str], Client], words: tuple[str, ...]
) -> None:
    client = connect(namespaces.acquire(name, password=PASSWORD))
    mine = [f"{name}:{word}" if word.startswith("own") else word for word in words]
    client.set(f"{name}:own", "1")
    with pytest.raises((NoPermissionError, ResponseError), match=r"No permissions|has no permissions|DEBUG command"):
        client.execute_command(*mine)


def test_a_script_cannot_leave_either(
    namespaces: RedisNamespace, name: str, other: str, free: list[int], connect: Callable[[str], Client]
) -> None:
    confined = connect(namespaces.acquire(name, password=PASSWORD, database=free[0]))
    prefixed = connect(namespaces.acquire(other, password=PASSWORD))
    for client, script in (
        (confined, "return redis.call('SELECT', 0)"),
        (prefixed, "return redis.call('SCAN', 0)"),
        (prefixed, f"return redis.call('GET', '{name}:x')"),
    ):
        with pytest.raises(ResponseError, match="ACL failure"):
            client.eval(script, 0)


def test_one_prefix_does_not_reach_another(
    namespaces: RedisNamespace, name: str, other: str, connect: Callable[[str], Client]
) -> None:
    first = connect(namespaces.acquire(name, password=PASSWORD))
    second = connect(namespaces.acquire(other, password=PASSWORD))
    first.set(f"{name}:key", "1")
    with pytest.raises(NoPermissionError):
        second.get(f"{name}:key")
    with pytest.raises(NoPermissionError):
        second.set("key", "1")


@pytest.mark.parametrize("confined", [True, False])
def test_acquiring_and_releasing_twice_is_the_same_as_once(
    namespaces: RedisNamespace,
    name: str,
    free: list[int],
    admin: Client,
    connect: Callable[[str], Client],
    confined: bool,
) -> None:
    database = free[0] if confined else None
    url = namespaces.acquire(name, password=PASSWORD, database=database)
    connect(url).set(f"{name}:key", "1")
    assert namespaces.acquire(name, password=PASSWORD, database=database) == url
    assert connect(url).get(f"{name}:key") == "1"
    assert name in namespaces.names()
    assert not namespaces.verify_empty(name)
    for _ in range(2):
        namespaces.release(name)
        assert namespaces.verify_empty(name)
    assert name not in namespaces.names()
    assert admin.acl_getuser(name) is None
    if confined:
        assert f"db{database}" not in admin.info("keyspace")
        assert not admin.exists(f"forkyard:database:{database}")


@pytest.mark.parametrize("confined", [True, False])
def test_a_release_ends_open_connections(
    namespaces: RedisNamespace, name: str, free: list[int], connect: Callable[[str], Client], confined: bool
) -> None:
    client = connect(namespaces.acquire(name, password=PASSWORD, database=free[0] if confined else None))
    client.set(f"{name}:key", "1")
    namespaces.release(name)
    with pytest.raises((AuthenticationError, ConnectionError)):
        client.set(f"{name}:key", "2")
    assert namespaces.verify_empty(name)


def test_a_database_is_held_by_one_name_at_a_time(
    namespaces: RedisNamespace, name: str, other: str, free: list[int], connect: Callable[[str], Client]
) -> None:
    url = namespaces.acquire(name, password=PASSWORD, database=free[0])
    with pytest.raises(CapacityExceeded, match=name):
        namespaces.acquire(other, password=PASSWORD, database=free[0])
    with pytest.raises(ProviderError, match=f"holds database {free[0]} already"):
        namespaces.acquire(name, password=PASSWORD, database=free[1])
    connect(url).set("key", "1")
    namespaces.release(other)
    assert connect(url).get("key") == "1"


def test_a_late_second_release_does_not_empty_the_next_holders_database(
    namespaces: RedisNamespace, name: str, other: str, free: list[int], connect: Callable[[str], Client]
) -> None:
    namespaces.acquire(name, password=PASSWORD, database=free[0])
    namespaces.release(name)
    client = connect(namespaces.acquire(other, password=PASSWORD, database=free[0]))
    client.set("key", "1")
    namespaces.release(name)
    assert client.get("key") == "1"


def test_a_server_that_forgot_its_logins_is_cleaned_all_the_same(
    namespaces: RedisNamespace, name: str, free: list[int], admin: Client, connect: Callable[[str], Client]
) -> None:
    connect(namespaces.acquire(name, password=PASSWORD, database=free[0])).set("key", "1")
    admin.acl_deluser(name)
    assert name in namespaces.names()
    assert not namespaces.verify_empty(name)
    namespaces.release(name)
    assert f"db{free[0]}" not in admin.info("keyspace")


def test_a_database_with_foreign_keys_is_neither_leased_nor_emptied(
    namespaces: RedisNamespace, name: str, free: list[int], valkey_url: str, connect: Callable[[str], Client]
) -> None:
    foreign = connect(valkey_url)
    foreign.select(free[0])
    foreign.set("precious", "1")
    try:
        with pytest.raises(ForeignResource, match="not Forkyard's"):
            namespaces.acquire(name, password=PASSWORD, database=free[0])
        namespaces.release(name)
        assert foreign.get("precious") == "1"
    finally:
        foreign.delete("precious")


@pytest.mark.parametrize("database", [0, -1])
def test_the_administrators_own_database_is_not_leased(namespaces: RedisNamespace, name: str, database: int) -> None:
    with pytest.raises(SettingsError, match="not one to lease"):
        namespaces.acquire(name, password=PASSWORD, database=database)


def test_a_number_that_the_server_does_not_have_is_told(namespaces: RedisNamespace, name: str) -> None:
    with pytest.raises(ProviderError, match="out of range"):
        namespaces.acquire(name, password=PASSWORD, database=1_000_000)
    assert namespaces.verify_empty(name)


def test_the_password_is_not_kept_on_the_server(namespaces: RedisNamespace, name: str, admin: Client) -> None:
    namespaces.acquire(name, password=PASSWORD)
    assert PASSWORD not in str(admin.acl_list())


@pytest.mark.parametrize("call", ["release", "verify_empty"])
def test_a_name_that_is_not_ours_is_never_touched(namespaces: RedisNamespace, call: str) -> None:
    for foreign in ("default", "", "fy_*", "FY_A"):
        with pytest.raises(ForeignResource):
            getattr(namespaces, call)(foreign)
        with pytest.raises(ForeignResource):
            namespaces.acquire(foreign, password=PASSWORD)


def test_a_server_that_lets_anybody_in_is_known(namespaces: RedisNamespace, valkey_url: str) -> None:
    place = urlsplit(valkey_url)
    with redis.Redis(host=place.hostname or "localhost", port=place.port or 6379) as anybody:
        try:
            open_to_anybody = bool(anybody.ping())
        except AuthenticationError:
            open_to_anybody = False
    assert namespaces.is_open() == open_to_anybody


def test_a_login_without_rights_is_told_without_its_password(namespaces: RedisNamespace, name: str, other: str) -> None:
    poor = RedisNamespace(namespaces.acquire(name, password=PASSWORD))
    with pytest.raises(PrivilegeMissing) as failure:
        poor.release(other)
    assert PASSWORD not in str(failure.value)
    poor.close()


def test_a_server_that_does_not_answer_is_told(name: str) -> None:
    absent = RedisNamespace("redis://user:opensesame@127.0.0.1:1/0")
    with pytest.raises(ProviderUnavailable) as failure:
        absent.names()
    assert "opensesame" not in str(failure.value)
    assert failure.value.retryable


def test_a_url_of_another_kind_is_told() -> None:
    with pytest.raises(SettingsError, match="redis://"):
        RedisNamespace("http://user:opensesame@host")
