"""The lab of providers whose forks are databases of one Postgres server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from orchestrator.forks.base import Provider, Resource
from orchestrator.forks.names import short_installation
from orchestrator.testing.provider_lab import LoginRefused, ProviderLab, WriteRefused


class PostgresSession:
    def __init__(self, conn: psycopg.Connection) -> None:
        self._conn = conn

    def alive(self) -> bool:
        try:
            self._conn.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def close(self) -> None:
        self._conn.close()


class PostgresLab(ProviderLab):
    """Looks with a superuser's eyes; makes its target as a database of the same server."""

    def __init__(
        self,
        provider: Provider,
        *,
        installation: str,
        neighbour: Provider,
        neighbour_id: str,
        superuser: str,
        target: str,
    ) -> None:
        """`target`: the name of an empty database that the caller makes and drops."""
        super().__init__(provider, installation=installation, neighbour=neighbour, neighbour_id=neighbour_id)
        self._superuser = superuser
        self._source = make_conninfo("", **{**conninfo_to_dict(superuser), "dbname": target})
        with psycopg.connect(self._source, autocommit=True) as conn:
            conn.execute("CREATE TABLE public.notes (key text PRIMARY KEY, value text NOT NULL)")
            conn.execute("INSERT INTO public.notes VALUES ('origin', 'target')")

    @property
    def source(self) -> str:
        return self._source

    @property
    def unreachable_source(self) -> str:
        return "postgresql://nobody:nothing@127.0.0.1:1/nowhere?connect_timeout=2"

    def connect(self, conninfo: str) -> PostgresSession:
        return PostgresSession(_connect(conninfo))

    def read(self, conninfo: str) -> Mapping[str, str]:
        with _connect(conninfo) as conn:
            return dict(conn.execute("SELECT key, value FROM public.notes").fetchall())

    def write(self, conninfo: str, key: str, value: str) -> None:
        with _connect(conninfo) as conn:
            try:
                conn.execute(
                    "INSERT INTO public.notes VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    (key, value),
                )
            except (pg.ReadOnlySqlTransaction, pg.InsufficientPrivilege) as exc:
                raise WriteRefused(str(exc)) from exc

    def census(self) -> frozenset[Resource]:
        pattern = [f"fy\\_{short_installation(each)}\\_%" for each in (self.installation, self.neighbour_id)]
        with self._look() as conn:
            rows = conn.execute(
                "SELECT 'database', datname FROM pg_database WHERE datname LIKE ANY (%(pattern)s)"
                " UNION ALL SELECT 'role', rolname FROM pg_roles WHERE rolname LIKE ANY (%(pattern)s)",
                {"pattern": pattern},
            ).fetchall()
        return frozenset(Resource(kind=kind, name=name) for kind, name in rows)

    def restamp(self, name: str, text: str | None) -> None:
        with self._look() as conn:
            conn.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(text)))

    def lose_database(self, name: str) -> None:
        with self._look() as conn:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def clear(self) -> None:
        """Remove all that the lab's installations left, by force."""
        with self._look() as conn:
            left = self.census()
            for resource in sorted(left):
                name = sql.Identifier(resource.name)
                if resource.kind == "database":
                    conn.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(name))
                    conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
                else:
                    conn.execute(sql.SQL("DROP ROLE {}").format(name))

    @contextmanager
    def _look(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self._superuser, autocommit=True) as conn:
            yield conn


def _connect(conninfo: str) -> psycopg.Connection:
    try:
        return psycopg.connect(conninfo, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as exc:
        raise LoginRefused(str(exc)) from exc
