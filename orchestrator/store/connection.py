"""Connections to the registry: at most two a process, and one place where driver errors become ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from orchestrator.errors import Fenced, RegistryError, RegistryOutdated, RegistryUnavailable
from orchestrator.secrets import redact
from orchestrator.store.queries import blocks
from orchestrator.store.records import Claim

SCHEMA = "forkyard_registry"

Registry = Connection[DictRow]


class Database:
    """A lazy pool of registry connections (one for steps, one for heartbeats); opened on first use, so fork-safe."""

    def __init__(self, conninfo: str, *, max_size: int = 2) -> None:
        self._conninfo = conninfo
        self._max_size = max_size
        self._pool: ConnectionPool[Registry] | None = None

    def __repr__(self) -> str:
        return f"Database({'open' if self._pool else 'closed'})"

    @contextmanager
    def transaction(self) -> Iterator[Registry]:
        """One transaction: committed at the end, rolled back on an exception. Translates driver errors."""
        with self.connection() as connection, connection.transaction():
            yield connection

    @contextmanager
    def connection(self) -> Iterator[Registry]:
        """A connection in autocommit mode: one round trip for a single statement."""
        with _translated(), self._open().connection() as connection:
            yield connection

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _open(self) -> ConnectionPool[Registry]:
        if self._pool is None:
            pool: ConnectionPool[Registry] = ConnectionPool(
                self._conninfo,
                min_size=0,
                max_size=self._max_size,
                max_idle=60,
                timeout=10,
                num_workers=1,
                reconnect_timeout=5,
                open=False,
                kwargs={
                    "autocommit": True,
                    "row_factory": dict_row,
                    "prepare_threshold": 2,
                    "connect_timeout": 5,
                    "application_name": "forkyard-registry",
                    "options": f"-c search_path={SCHEMA} -c timezone=UTC -c statement_timeout=60s -c lock_timeout=30s",
                },
            )
            pool.open()
            self._pool = pool
        return self._pool


class Table:
    """Base of the store's parts: runs the named blocks of one SQL file."""

    file: str

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = blocks(self.file)

    def _rows(self, connection: Registry, block: str, values: Mapping[str, Any]) -> list[DictRow]:
        cursor = connection.execute(self._sql[block], values)
        return [] if cursor.rownumber is None else cursor.fetchall()

    def _row(self, connection: Registry, block: str, values: Mapping[str, Any]) -> DictRow | None:
        rows = self._rows(connection, block, values)
        return rows[0] if rows else None

    @contextmanager
    def _fenced_transaction(self, claim: Claim | None) -> Iterator[Registry]:
        """A transaction for writes of the claim's owner alone; raises Fenced if a newer epoch owns the run."""
        with self._database.transaction() as connection:
            if claim is not None:
                values = {"run_id": claim.run.id, "epoch": claim.epoch}
                if connection.execute(blocks("runs")["fence"], values).fetchone() is None:
                    raise Fenced(run=claim.run.id, epoch=claim.epoch)
            yield connection

    def _one(self, block: str, **values: Any) -> DictRow | None:
        with self._database.connection() as connection:
            return self._row(connection, block, values)

    def _all(self, block: str, **values: Any) -> list[DictRow]:
        with self._database.connection() as connection:
            return self._rows(connection, block, values)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as exc:
        raise RegistryUnavailable("The registry does not answer: is its server up, and is the password right?") from exc
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedColumn) as exc:
        raise RegistryOutdated() from exc
    except psycopg.OperationalError as exc:
        raise RegistryUnavailable(f"The registry does not answer: {_first_line(exc)}") from exc
    except psycopg.Error as exc:
        raise RegistryError(f"The registry refused: {_first_line(exc)}") from exc


def _first_line(exc: BaseException) -> str:
    lines = str(exc).strip().splitlines()
    return redact(lines[0].removeprefix("connection failed: ")) if lines else type(exc).__name__


def connect_once(conninfo: str) -> None:
    """Connect and leave, for a quick first error. Raises RegistryUnavailable with the server's own words."""
    try:
        psycopg.connect(conninfo, connect_timeout=5).close()
    except psycopg.OperationalError as exc:
        raise RegistryUnavailable(unreachable(exc)) from None


def unreachable(exc: psycopg.Error) -> str:
    """What to say, and what to do, where no connection to the registry can be had."""
    return (
        f"The registry cannot be reached: {_first_line(exc)}; start its server (`forkyard up`, where it is embedded) "
        "or correct [registry] and its password."
    )
