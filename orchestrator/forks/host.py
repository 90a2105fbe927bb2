"""The fork host: the Postgres cluster that baselines and forks live in, reached by its admin login."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from urllib.parse import quote, urlencode

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import class_row

from orchestrator.errors import SettingsError
from orchestrator.forks.errors import translate_refusal, translated

LOCK_TIMEOUT_SECONDS = 60

_PINNED = {
    # Nothing that a fork's owner may have planted is found by name.
    "search_path": "pg_catalog",
    # A login without superuser gets the rights of the roles that it makes, so that it can end their sessions.
    "createrole_self_grant": "set,inherit",
    # Nothing that ALTER DATABASE or ALTER ROLE says may get in the way.
    "default_transaction_read_only": "off",
    "statement_timeout": "0",
    "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
_NOT_FOR_OTHERS = {"user", "password", "dbname", "passfile", "options", "application_name", "service", "host", "port"}


@cache
def catalog_sql(name: str) -> bytes:
    """One static statement from `forks/sql`, as bytes: psycopg takes it as it stands."""
    return (files("orchestrator.forks") / "sql" / f"{name}.sql").read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """What exists at the host under one name (`sql/resource.sql`)."""

    database_oid: int | None
    database_stamp: str | None
    is_template: bool | None
    admits_sessions: bool | None
    role_oid: int | None
    role_stamp: str | None


class Host:
    """Opens short-lived sessions of the admin login and builds other logins' URLs; holds no connection."""

    def __init__(self, conninfo: str) -> None:
        """`conninfo`: a libpq URL or string, password included. Raises SettingsError where it is malformed."""
        try:
            parts = conninfo_to_dict(conninfo)
        except psycopg.ProgrammingError as exc:
            raise SettingsError("The fork host's connection string is not valid.") from exc
        self._parts = {key: str(value) for key, value in {**_defaults(), **parts}.items() if value is not None}
        self.database = self._parts.get("dbname") or "postgres"

    def connect(self, database: str | None = None) -> psycopg.Connection:
        """An autocommit session of the admin login. Raises UserErrors and ProviderUnavailable."""
        try:
            return self._connect(database or self.database)
        except psycopg.Error as exc:
            raise translate_refusal(exc, place=self.place(database), ours=True) from exc

    def connect_with_wrong_password(self) -> psycopg.Connection:
        """Succeeds only where the server asks for none. Raises psycopg.Error: the caller looks for just that."""
        return self._connect(self.database, {"password": secrets.token_urlsafe()})

    @contextmanager
    def session(self, doing: str, *, lock: str | None = None) -> Iterator[psycopg.Connection]:
        """A session of the admin login for one operation, its errors translated.

        With `lock`, all operations under that lock follow one another, whatever worker they come from; the lock
        goes with the session, so a killed worker cannot keep it.
        """
        conn = self.connect()
        try:
            with translated(doing):
                if lock:
                    conn.execute(catalog_sql("lock"), {"key": f"forkyard:{lock}"})
                yield conn
        finally:
            conn.close()

    def url(self, *, user: str, password: str, database: str) -> str:
        """A libpq URL for another login of the same server."""
        host, port = self._parts.get("host", ""), self._parts.get("port", "")
        extra = {key: value for key, value in self._parts.items() if key not in _NOT_FOR_OTHERS and value}
        if "/" in host or "," in host or "," in port:
            extra |= {"host": host, "port": port}
            host = port = ""
        address = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        query = f"?{urlencode(extra, quote_via=quote)}" if extra else ""
        return f"postgresql://{login}@{address}/{quote(database, safe='')}{query}"

    def place(self, database: str | None = None) -> str:
        """The server in words, without a secret."""
        address = self._parts.get("host") or self._parts.get("hostaddr") or "the local socket"
        port = f":{self._parts['port']}" if "port" in self._parts else ""
        login, database = self._parts.get("user", "the default login"), database or self.database
        return f'the fork host at {address}{port} as "{login}" (database "{database}")'

    @property
    def conninfo_parts(self) -> dict[str, str]:
        """The admin's connection parameters, for the client programs."""
        return dict(self._parts)

    def _connect(self, database: str, changes: Mapping[str, str] | None = None) -> psycopg.Connection:
        pinned = " ".join(f"-c {name}={value}" for name, value in _PINNED.items())
        wanted = {
            "connect_timeout": "10",
            **self._parts,
            "dbname": database,
            "application_name": "forkyard provider",
            "options": f"{self._parts.get('options', '')} {pinned}".strip(),
            "client_encoding": "utf8",
            **(changes or {}),
        }
        return psycopg.connect("", autocommit=True, **wanted)  # type: ignore[arg-type]


def existing(conn: psycopg.Connection, name: str) -> Existing:
    """The database and the role of that name, as they are now."""
    with conn.cursor(row_factory=class_row(Existing)) as cursor:
        found = cursor.execute(catalog_sql("resource"), {"name": name}).fetchone()
    assert found is not None
    return found


def _defaults() -> dict[str, str]:
    """What libpq takes from PGHOST and PGPORT: agents do not get those variables, so their URLs must say it."""
    wanted = {b"host": "host", b"port": "port"}
    options = pq.Conninfo.get_defaults()
    return {wanted[o.keyword]: o.val.decode() for o in options if o.keyword in wanted and o.val and o.envvar}
