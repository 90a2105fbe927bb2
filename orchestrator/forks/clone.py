"""The `clone` provider: a fork is a database made by `CREATE DATABASE … TEMPLATE` of a sealed baseline.

With `file_copy_method = clone` (PostgreSQL 18, XFS, ZFS, APFS) the copy shares its blocks with the baseline.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Literal

import psycopg
from psycopg import errors as pg
from psycopg import sql

from orchestrator.errors import (
    BaselineMissing,
    ForeignResource,
    ForkMissing,
    ForkyardError,
)
from orchestrator.forks import databases, import_
from orchestrator.forks.base import Capabilities, Finding, Found, Login, Provider, Resource, Stamp
from orchestrator.forks.clone_check import findings, require_privileges
from orchestrator.forks.host import Existing, Host, catalog_sql, existing
from orchestrator.forks.names import parse_name, short_installation
from orchestrator.forks.roles import (
    Access,
    drop_unused_roles,
    ensure_shared_roles,
    fork_access,
    owner_role,
    private_database,
    reader_role,
    verifier,
)
from orchestrator.pgtools import PgTools
from orchestrator.secrets import derive

_READ_COPY = "_read"


class CloneProvider(Provider):
    """Forks in one Postgres cluster, the fork host (PostgreSQL 16 or later; copy-on-write from 18)."""

    name: ClassVar[str] = "clone"
    capabilities: ClassVar[Capabilities] = Capabilities(
        pool=True, physical_identity=True, expires_by_itself=False, transactional_ddl=True
    )

    def __init__(
        self,
        host_conninfo: str,
        *,
        installation: str,
        key: bytes,
        scratch_dir: Path,
        tools: PgTools | None = None,
        connection_limit: int = 2,
    ) -> None:
        """`host_conninfo`: a login with CREATEDB and CREATEROLE (superuser works too). `key`: the installation's key.

        `tools`: pg_dump and pg_restore; found by themselves where not given. `connection_limit`: sessions per fork.
        """
        self._host = Host(host_conninfo)
        self._installation = installation
        self._key = key
        self._scratch = scratch_dir
        self._tools = tools
        self._connection_limit = connection_limit
        self._owner = owner_role(installation)
        self._reader = reader_role(installation)

    # Baselines

    def create_baseline(self, name: str, *, source: str, stamp: Stamp) -> None:
        self._require_ours(name, "baseline", stamp)
        looked = import_.look_at(source)
        with self._host.session(f'make the baseline "{name}"', lock=name) as conn:
            require_privileges(conn)
            self._drop_baseline(conn, name)
            try:
                self._create_empty(conn, name, looked.database)
                import_.fill(self._host, name, looked, owner=self._owner, tools=self._tools, scratch=self._scratch)
                self._seal(conn, name, looked.settings, stamp)
            except BaseException:
                with suppress(psycopg.Error, ForkyardError):
                    self._drop_baseline(conn, name)
                raise

    def destroy_baseline(self, name: str) -> None:
        self._require_ours(name, "baseline")
        with self._host.session(f'destroy the baseline "{name}"', lock=name) as conn:
            self._drop_baseline(conn, name)
        with self._host.session("remove the shared roles", lock=self._owner) as conn:
            drop_unused_roles(conn, self._installation)

    def baseline_conninfo(self, name: str) -> str:
        """A sealed baseline admits no sessions (a copy would fail), so capture reads its reading copy."""
        return self._host.url(user=self._reader, password=self._password("reader"), database=name + _READ_COPY)

    # Forks

    def create(self, name: str, *, baseline: str, stamp: Stamp) -> None:
        self._require_ours(name, "fork", stamp)
        with self._host.session(f'create the fork "{name}"', lock=name) as conn:
            self._require_sealed(conn, baseline)
            self._drop_fork(conn, name)
            settings = import_.database_settings(conn, baseline)
            databases.copy(conn, name, baseline)
            batch = [private_database(name, reader=self._reader), databases.stamp_database(name, stamp)]
            batch += [import_.apply_settings(name, settings)] if settings else []
            conn.execute(sql.SQL("; ").join([*batch, databases.allow_connections(name)]))

    def inspect_conninfo(self, name: str) -> str:
        return self._host.url(user=self._reader, password=self._password("reader"), database=name)

    def open(self, name: str, *, stamp: Stamp) -> None:
        self._require_ours(name, "fork", stamp)
        with self._host.session(f'open the fork "{name}"', lock=name) as conn:
            found, _ = self._require_fork(conn, name)
            self._let_in(conn, name, Login.AGENT, stamp, exists=found.role_oid is not None)

    def close(self, name: str) -> None:
        self._require_ours(name, "fork")
        with self._host.session(f'close the fork "{name}"', lock=name) as conn:
            found, stamp = self._require_fork(conn, name)
            assert found.database_oid is not None
            if found.role_oid is not None:
                conn.execute(databases.revoke_connect(name, name))
                databases.end_sessions(conn, name, found.database_oid)
                databases.own_everything(self._host, conn, name, owner=self._owner)
            self._let_in(conn, name, Login.CAPTURE, stamp, exists=found.role_oid is not None)

    def conninfo(self, name: str, login: Login) -> str:
        return self._host.url(user=name, password=self._password("fork", name, login), database=name)

    def destroy(self, name: str) -> None:
        self._require_ours(name, "fork")
        with self._host.session(f'destroy the fork "{name}"', lock=name) as conn:
            self._drop_fork(conn, name)

    def resources(self, name: str) -> tuple[Resource, ...]:
        return Resource(kind="database", name=name), Resource(kind="role", name=name)

    def present(self, name: str) -> frozenset[Resource]:
        with self._host.session(f'look for the fork "{name}"') as conn:
            found = existing(conn, name)
        there = {"database": found.database_oid is not None, "role": found.role_oid is not None}
        return frozenset(resource for resource in self.resources(name) if there[resource.kind])

    def list(self) -> Iterable[Found]:
        prefix = f"fy_{short_installation(self._installation)}_"
        with self._host.session("list the forks") as conn:
            rows = conn.execute(catalog_sql("listing"), {"prefix": prefix}).fetchall()
        found: dict[str, Found] = {}
        for _, listed, text in rows:
            name = listed.removesuffix(_READ_COPY)
            parsed, stamp = parse_name(name), Stamp.from_json(text)
            foreign = stamp is not None and stamp.installation != self._installation
            if parsed is None or foreign or (listed != name and parsed.kind == "fork"):
                continue
            known = found.get(name)
            if known is None or (known.stamp is None and listed == name):
                # Only the baseline's own stamp says that it is complete; its reading copy's does not.
                found[name] = Found(name=name, kind=parsed.kind, stamp=stamp if listed == name else None)
        return tuple(found.values())

    def check(self) -> Iterable[Finding]:
        return findings(self._host, self._installation, self._tools)

    # What the above is made of

    def _password(self, *purpose: str) -> str:
        return derive(self._key, *purpose)

    def _require_ours(self, name: str, kind: Literal["baseline", "fork"], stamp: Stamp | None = None) -> None:
        """The name, and the stamp that it is to carry: with another one it could never be removed again."""
        parsed = parse_name(name)
        if parsed is None or (parsed.kind, parsed.installation) != (kind, short_installation(self._installation)):
            raise ForeignResource(f'"{name}" is no {kind} of this installation; it is left alone.')
        if stamp is not None:
            self._require_our_stamp(name, stamp.to_json())

    def _require_our_stamp(self, name: str, text: str | None) -> Stamp | None:
        """The stamp of a resource that may be changed or removed. No comment at all is an unfinished creation."""
        parsed = parse_name(name.removesuffix(_READ_COPY))
        assert parsed is not None
        if not text:
            return None
        stamp, expected = Stamp.from_json(text), (self._installation, parsed.kind, parsed.resource_id)
        if stamp is None or (stamp.installation, stamp.kind, stamp.resource_id) != expected:
            raise ForeignResource(f'"{name}" does not carry this installation\'s stamp; it is left alone.')
        return stamp

    def _require_fork(self, conn: psycopg.Connection, name: str) -> tuple[Existing, Stamp]:
        found = existing(conn, name)
        if found.database_oid is None:
            raise ForkMissing(f'The fork "{name}" no longer exists at the fork host.')
        stamp = self._require_our_stamp(name, found.database_stamp)
        self._require_our_stamp(name, found.role_stamp)
        if stamp is None:
            raise ForkMissing(f'The fork "{name}" was never finished: create it again.')
        return found, stamp

    def _require_sealed(self, conn: psycopg.Connection, name: str) -> None:
        self._require_ours(name, "baseline")
        found = existing(conn, name)
        stamp = self._require_our_stamp(name, found.database_stamp)
        if stamp is None or not found.is_template or found.admits_sessions:
            raise BaselineMissing(
                f'The baseline "{name}" does not exist at the fork host, or was never finished: create a new baseline.'
            )

    def _let_in(self, conn: psycopg.Connection, name: str, login: Login, stamp: Stamp, *, exists: bool) -> None:
        """One transaction: the fork's role with that login's password, nobody else, both stamps, the door open."""
        access = Access(
            verifier=verifier(conn, name, self._password("fork", name, login)),
            connection_limit=self._connection_limit,
            valid_until=stamp.expires_at if login is Login.AGENT else None,
        )
        statements = [
            fork_access(name, owner=self._owner, access=access, exists=exists),
            databases.revoke_connect(name, self._reader),
            databases.stamp_database(name, stamp),
            databases.stamp_role(name, stamp),
            databases.allow_connections(name),
        ]
        conn.execute(sql.SQL("; ").join(statements))

    def _create_empty(self, conn: psycopg.Connection, name: str, kind: import_.SourceDatabase) -> None:
        """An empty database for the import. Its grants hold the shared roles in place from then on."""
        grant = sql.SQL("GRANT CREATE, TEMPORARY ON DATABASE {} TO {}").format(
            sql.Identifier(name), sql.Identifier(self._owner)
        )
        with self._host.session("make the shared roles", lock=self._owner) as other:
            ensure_shared_roles(other, self._installation, self._password("reader"))
            import_.create_empty(conn, name, kind)
            conn.execute(
                sql.SQL("; ").join(
                    [private_database(name, reader=self._reader), grant, databases.allow_connections(name)]
                )
            )

    def _seal(self, conn: psycopg.Connection, name: str, settings: Iterable[import_.Setting], stamp: Stamp) -> None:
        """Close the baseline, make its reading copy, and last of all the stamp, which says that it is complete."""
        for setting in settings:
            with suppress(pg.InsufficientPrivilege, pg.InvalidParameterValue, pg.UndefinedObject):
                conn.execute(import_.apply_settings(name, [setting]))
        conn.execute(
            sql.SQL("ALTER DATABASE {} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false").format(sql.Identifier(name))
        )
        copy = name + _READ_COPY
        databases.copy(conn, copy, name)
        conn.execute(
            sql.SQL("; ").join(
                [
                    private_database(copy, reader=self._reader),
                    databases.stamp_database(copy, stamp),
                    databases.allow_connections(copy),
                    databases.stamp_database(name, stamp),
                ]
            )
        )

    def _drop_baseline(self, conn: psycopg.Connection, name: str) -> None:
        for database in (name + _READ_COPY, name):
            found = existing(conn, database)
            if found.database_oid is None:
                continue
            self._require_our_stamp(database, found.database_stamp)
            if found.is_template:
                conn.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(database)))
            databases.drop(conn, database)

    def _drop_fork(self, conn: psycopg.Connection, name: str) -> None:
        """Right before the delete the stamps are read again, under the lock that all who make forks hold."""
        found = existing(conn, name)
        self._require_our_stamp(name, found.database_stamp)
        self._require_our_stamp(name, found.role_stamp)
        if found.database_oid is not None:
            databases.forget_prepared(self._host, conn, name)
            databases.drop(conn, name)
        if found.role_oid is not None:
            conn.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))
