"""What the use cases are tried on: a target with an owner of its own, in a world without workers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql

from tests.conftest import url_for

PASSWORD = "hunter2-of-the-target"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`url`: its owner's login; `superuser`: the same database for who sees and may do all."""

    url: str
    superuser: str
    owner: str

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @property
    def has_marker(self) -> bool:
        return self.execute("SELECT to_regclass('forkyard.merges') IS NOT NULL") == [(True,)]


@pytest.fixture(scope="session")
def owned_database(databases: Callable[[str], str]) -> Iterator[Target]:
    superuser, owner = databases("target"), f"owner_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(superuser, autocommit=True) as admin:
        role, database = sql.Identifier(owner), sql.Identifier(admin.info.dbname)
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(PASSWORD)))
        admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, role))
    yield Target(url=url_for(superuser, user=owner, password=PASSWORD), superuser=superuser, owner=owner)
    with psycopg.connect(superuser, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(role))
        admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER; DROP ROLE {}").format(database, role))


@pytest.fixture
def target(owned_database: Target) -> Target:
    """A target with one table and no marker, whatever the test before did to it."""
    owned_database.execute(
        f"DROP SCHEMA IF EXISTS forkyard, public CASCADE; CREATE SCHEMA public AUTHORIZATION {owned_database.owner};"
        f"SET ROLE {owned_database.owner}; CREATE TABLE customers (id int PRIMARY KEY, name text)"
    )
    return owned_database
