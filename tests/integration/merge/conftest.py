"""Merges for real: a baseline, the run's fork, the scratch fork of its migrations and a target, each a database of
a login that is no superuser."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from orchestrator.capture.changeset import Changeset, LedgerEntry
from orchestrator.capture.fingerprint import read_schema
from orchestrator.capture.rows import diff_tables
from orchestrator.capture.schema import diff_schema
from orchestrator.capture.sequences import diff_sequences
from orchestrator.merge import marker
from orchestrator.merge.replay import MergeReport, merge

INSTALLATION = uuid.UUID("6f0f2f7e-6f5e-4f5e-9d3e-0d9c6f1f2a10")

PARTS = ("base", "target", "scratch", "fork")
PASSWORD = "of the tests alone"


def apply_ledger(conn: psycopg.Connection[Any], ledger: Sequence[LedgerEntry]) -> None:
    for entry in ledger:
        conn.execute(entry.sql.encode())


@dataclass(slots=True, kw_only=True)
class World:
    """One run and its target; every step is explicit, so that a test can interfere between two of them."""

    admin_url: str
    role: str
    fingerprint: str = ""
    ledger: tuple[LedgerEntry, ...] = ()

    def url(self, name: str, **changes: str) -> str:
        parts: dict[str, Any] = {**conninfo_to_dict(self.admin_url), "user": self.role, "dbname": self.name(name)}
        parts["password"] = PASSWORD
        return make_conninfo("", **{**parts, **changes})

    def admin(self, name: str) -> str:
        """A superuser's URL of the same database."""
        return make_conninfo("", **{**conninfo_to_dict(self.admin_url), "dbname": self.name(name)})

    def name(self, name: str) -> str:
        return f"{self.role}_{name}"

    def connect(self, name: str, **changes: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url(name), **changes)

    def run_sql(self, name: str, text: str) -> None:
        with self.connect(name) as conn:
            conn.execute(text.encode())

    def value(self, name: str, query: str) -> Any:
        with self.connect(name) as conn:
            row = conn.execute(query.encode()).fetchone()
        return None if row is None else row[0]

    def prepare(
        self, baseline: str, *, target: str = "", ledger: Sequence[tuple[str, str]] = (), run: str = ""
    ) -> None:
        """All four databases, the migrations applied to fork and scratch, the run's and the target's own edits."""
        for name in PARTS if ledger else ("base", "target", "fork"):
            self.run_sql(name, baseline)
        with self.connect("target") as conn:
            self.fingerprint = read_schema(conn).fingerprint
            marker.install(conn)
        self.ledger = tuple(LedgerEntry(name=name, sql=text) for name, text in ledger)
        for entry in self.ledger:
            self.run_sql("scratch", entry.sql)
            self.run_sql("fork", entry.sql)
        if run:
            self.run_sql("fork", run)
        if target:
            self.run_sql("target", target)

    def changeset(self) -> Changeset:
        with ExitStack() as stack:
            base, fork = (stack.enter_context(self.connect(name, autocommit=True)) for name in ("base", "fork"))
            scratch = stack.enter_context(self.connect("scratch", autocommit=True)) if self.ledger else base
            schemas = [read_schema(conn) for conn in (base, scratch, fork)]
            tables = diff_tables(scratch, fork, base=base)
            sequences = diff_sequences(base, fork)
        return Changeset(
            baseline_fingerprint=schemas[0].fingerprint,
            ledger=self.ledger,
            tables=tables,
            sequences=sequences,
            schema_changes=diff_schema(schemas[0], schemas[2]),
            unrecorded=diff_schema(schemas[1], schemas[2]),
        )

    def merge(self, changeset: Changeset | None = None, *, conninfo: str | None = None, **changes: Any) -> MergeReport:
        # Through JSON, as the registry stores it.
        content = (changeset or self.changeset()).to_json()
        options: dict[str, Any] = {
            "run_id": "clean/careful#1",
            "installation": INSTALLATION,
            "target_fingerprint": self.fingerprint,
            "lock_timeout_seconds": 5,
            "statement_timeout_seconds": 60,
            "apply_ledger": apply_ledger,
        }
        return merge(conninfo or self.url("target"), Changeset.from_json(content), **{**options, **changes})

    def target_equals_fork(self) -> bool:
        with self.connect("target", autocommit=True) as target, self.connect("fork", autocommit=True) as fork:
            same = read_schema(target).fingerprint == read_schema(fork).fingerprint
            return same and diff_tables(target, fork) == ()


@pytest.fixture(scope="session")
def merge_role(admin_url: str) -> Iterator[str]:
    """An ordinary login that owns one database for each part; emptied between tests, which is faster than new ones."""
    role = f"merge_{uuid.uuid4().hex[:10]}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(PASSWORD)))
        for part in PARTS:
            name = sql.Identifier(f"{role}_{part}")
            admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, sql.Identifier(role)))
    yield role
    with psycopg.connect(admin_url, autocommit=True) as admin:
        for part in PARTS:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(f"{role}_{part}")))
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture
def world(admin_url: str, merge_role: str) -> Iterator[World]:
    world = World(admin_url=admin_url, role=merge_role)
    yield world
    for part in PARTS:
        with psycopg.connect(world.admin(part), autocommit=True) as admin:
            admin.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(merge_role)))
            admin.execute("DROP SCHEMA public CASCADE")
            admin.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
            admin.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")


@pytest.fixture
def installation() -> uuid.UUID:
    return INSTALLATION


@pytest.fixture
def stranger(admin_url: str, world: World) -> Iterator[str]:
    """Another login, which may connect and read nothing."""
    name = f"merge_stranger_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(PASSWORD)))
    yield name
    with psycopg.connect(world.admin("target"), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
