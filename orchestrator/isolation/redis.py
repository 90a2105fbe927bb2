"""A Redis namespace per environment: a login that sees its own keys and nothing else.

On Valkey 9.1 and later the namespace is a numbered database of its own, in which the agent may do what it likes. On
older servers (Redis 7, Valkey 7 to 9.0), or where no number is given, it is the key prefix `<name>:`, with the
commands off that would show or touch the keys of others.

Which name holds which database is written in the administrator's database, because a server that restarts may
forget its logins but keep its keys:

    forkyard:database:<number>   the name that holds it
    forkyard:namespaces          hash of name to number

The server must ask its default user for a password; otherwise an agent leaves its namespace with `RESET`, which no
rule can forbid, or by a connection without a login (`is_open`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import redis
from redis import exceptions

from orchestrator.errors import (
    CapacityExceeded,
    ForeignResource,
    NotPossible,
    PrivilegeMissing,
    ProviderError,
    ProviderUnavailable,
    SettingsError,
)
from orchestrator.isolation.base import SideResource, check_name, is_ours

KIND = "redis"
_TIMEOUT_SECONDS = 5
_SCAN_COUNT = 1000
_NAMESPACES = "forkyard:namespaces"
_SERVER_WIDE = ["-function", "-script|flush", "-script|kill", "-pubsub", "-client|tracking", "-memory|stats"]
_OWN_DATABASE = ["+keys", "+flushdb", "+sort", *_SERVER_WIDE]
_OWN_PREFIX = ["-scan", "-randomkey", "-dbsize", "-select", "-move", "-copy", "-wait", *_SERVER_WIDE]

# Claim a database for a name: gives the holder, or an empty string where foreign keys are in it.
_CLAIM = """
local holder = redis.call('GET', KEYS[1])
if holder then return holder end
redis.call('SELECT', ARGV[2])
local size = redis.call('DBSIZE')
redis.call('SELECT', ARGV[3])
if size > 0 then return '' end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return ARGV[1]
"""

# Empty a database and give it back, if the name still holds it.
_GIVE_BACK = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SELECT', ARGV[2])
  redis.call('FLUSHDB', 'ASYNC')
  redis.call('SELECT', ARGV[3])
  redis.call('DEL', KEYS[1])
end
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
"""


class RedisNamespace:
    """Namespaces on one server, made with an administrator's URL. Every method may run twice.

    Raises ProviderUnavailable, PrivilegeMissing, ProviderError, and ForeignResource for names that are not ours.
    """

    def __init__(self, admin_url: str) -> None:
        """Makes no connection. Raises SettingsError for a URL that is none of a Redis server."""
        try:
            self._client: Any = redis.Redis.from_url(
                admin_url,
                decode_responses=True,
                socket_timeout=_TIMEOUT_SECONDS,
                socket_connect_timeout=_TIMEOUT_SECONDS,
            )
        except ValueError as exc:
            raise SettingsError("The Redis URL is not of the form redis://user:password@host:port/0.") from exc
        self._url = admin_url
        self._home = int(self._client.connection_pool.connection_kwargs.get("db") or 0)

    def acquire(self, name: str, *, password: str, database: int | None = None) -> str:
        """Make the namespace's login and give its URL, password included.

        `database` is the number to lease where the server can confine a login to one; None, and every older
        server, means the key prefix `<name>:`. Raises CapacityExceeded where another name holds that database,
        ForeignResource where it holds keys that are not ours, NotPossible where the server is too old for either.
        """
        check_name(name)
        with _translated():
            leased = database if self._confines_databases() else None
            if leased is not None:
                self._claim(name, leased)
            scope = [f"~{name}:*"] if leased is None else ["~*", "resetdbs", f"db={leased}"]
            off = _OWN_PREFIX if leased is None else _OWN_DATABASE
            digest = hashlib.sha256(password.encode()).hexdigest()
            rules = ["reset", "on", f"#{digest}", *scope, f"&{name}:*", "+@all", "-@admin", "-@dangerous", *off]
            self._client.execute_command("ACL", "SETUSER", name, *rules)
        return self._url_for(name, password, self._home if leased is None else leased)

    def release(self, name: str) -> None:
        """End the login with its connections and remove its keys; nothing to do if it is gone."""
        check_name(name)
        with _translated():
            self._client.acl_deluser(name)
            database = self._client.hget(_NAMESPACES, name)
            if database is not None:
                keys = [f"forkyard:database:{database}", _NAMESPACES]
                self._client.eval(_GIVE_BACK, 2, *keys, name, database, self._home)
            for keys in self._prefixed(name):
                self._client.unlink(*keys)

    def verify_empty(self, name: str) -> bool:
        """Whether neither login, database nor key of the namespace is left: the proof for a receipt."""
        check_name(name)
        with _translated():
            return (
                self._client.acl_getuser(name) is None
                and not self._client.hexists(_NAMESPACES, name)
                and next(self._prefixed(name), None) is None
            )

    def names(self) -> frozenset[str]:
        """Every namespace on this server, of all installations, for the sweep of orphans."""
        with _translated():
            found = {*self._client.acl_users(), *self._client.hkeys(_NAMESPACES)}
        return frozenset(filter(is_ours, found))

    def is_open(self) -> bool:
        """Whether the server lets anybody in without a password, so that a namespace holds nobody back."""
        with _translated():
            default = self._client.acl_getuser("default") or {}
        flags = default.get("flags", [])
        return "on" in flags and "nopass" in flags

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self._client.close()

    def _claim(self, name: str, database: int) -> None:
        if database == self._home or database < 0:
            raise SettingsError(f"Database {database} of the Redis server is not one to lease; give another number.")
        held = self._client.hget(_NAMESPACES, name)
        if held not in (None, str(database)):
            raise ProviderError(f"The namespace {name} holds database {held} already; release it first.", name=name)
        keys = [f"forkyard:database:{database}", _NAMESPACES]
        holder = self._client.eval(_CLAIM, 2, *keys, name, database, self._home)
        if holder == "":
            raise ForeignResource(f"Database {database} of the Redis server holds keys that are not Forkyard's.")
        if holder != name:
            raise CapacityExceeded(f"Database {database} of the Redis server is held by {holder}.", name=name)

    def _confines_databases(self) -> bool:
        """Whether logins can be confined to a numbered database. Raises NotPossible for a server without prefixes."""
        server = self._client.info("server")
        if _version(server.get("valkey_version", "0")) >= (9, 1):
            return True
        if _version(server.get("redis_version", "0")) < (7, 0):
            raise NotPossible(f"Redis {server.get('redis_version')} cannot separate agents; version 7 or later can.")
        return False

    def _prefixed(self, name: str) -> Iterator[list[str]]:
        """The keys of the prefix, in batches."""
        cursor = 0
        while True:
            cursor, keys = self._client.scan(cursor, match=f"{name}:*", count=_SCAN_COUNT)
            if keys:
                yield keys
            if cursor == 0:
                return

    def _url_for(self, name: str, password: str, database: int) -> str:
        parts = urlsplit(self._url)
        login = f"{quote(name)}:{quote(password, safe='')}"
        query = [(key, value) for key, value in parse_qsl(parts.query) if key not in ("db", "username", "password")]
        if parts.scheme == "unix":
            query.append(("db", str(database)))
            return urlunsplit((parts.scheme, f"{login}@", parts.path, urlencode(query), ""))
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, f"{login}@{place}", f"/{database}", urlencode(query), ""))


def resource(name: str) -> SideResource:
    """What an intent and a receipt list for the namespace of that name."""
    return SideResource(kind=KIND, name=check_name(name))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of the client library as ours; none of them carries the URL."""
    try:
        yield
    except (exceptions.AuthenticationError, exceptions.NoPermissionError) as exc:
        raise PrivilegeMissing(f"The Redis server refuses Forkyard's login or a command that it needs: {exc}.") from exc
    except (exceptions.ConnectionError, exceptions.TimeoutError) as exc:
        raise ProviderUnavailable(f"The Redis server does not answer: {exc}") from exc
    except exceptions.RedisError as exc:
        raise ProviderError(f"The Redis server refused a command: {exc}.") from exc
