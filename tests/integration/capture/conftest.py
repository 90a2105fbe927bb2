"""Two databases, one cloned from the other, read and written by an agent as a fork gives it: a login without rights
of its own that takes on a NOLOGIN role, which owns the tables."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from orchestrator.capture.edits import RowEdit, TableChange
from orchestrator.capture.session import pin_values


@dataclass(frozen=True, kw_only=True)
class Roles:
    owner: str
    agent: str
    password: str


@dataclass(kw_only=True)
class Forked:
    """A database and its clone; `before` and `after` are the agent's idle connections to them."""

    admin_url: str
    roles: Roles
    names: tuple[str, str]
    stack: ExitStack
    before: psycopg.Connection[Any] = field(init=False)
    after: psycopg.Connection[Any] = field(init=False)

    def url(self, side: int, *, agent: bool = True) -> str:
        parts = {**conninfo_to_dict(self.admin_url), "dbname": self.names[side]}
        if agent:
            parts |= {"user": self.roles.agent, "password": self.roles.password}
        return make_conninfo("", **parts)

    def connect(self, side: int, *, agent: bool = True) -> psycopg.Connection[Any]:
        return self.stack.enter_context(psycopg.connect(self.url(side, agent=agent), autocommit=True))


@pytest.fixture(scope="session")
def roles(admin_url: str) -> Iterator[Roles]:
    suffix = uuid.uuid4().hex[:8]
    made = Roles(owner=f"cap_owner_{suffix}", agent=f"cap_agent_{suffix}", password=uuid.uuid4().hex)
    owner, agent = sql.Identifier(made.owner), sql.Identifier(made.agent)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(owner))
        login = sql.SQL("CREATE ROLE {} LOGIN NOINHERIT PASSWORD {}")
        admin.execute(login.format(agent, sql.Literal(made.password)))
        admin.execute(sql.SQL("GRANT {} TO {} WITH INHERIT FALSE, SET TRUE").format(owner, agent))
    yield made
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP ROLE {}, {}").format(agent, owner))


@pytest.fixture(scope="session")
def fork_databases(admin_url: str, roles: Roles) -> Callable[..., Iterator[Forked]]:
    """A generator that seeds a database as the agent, clones it, and drops both in the end."""

    def make(*seed: str, superuser_seed: str = "") -> Iterator[Forked]:
        suffix = uuid.uuid4().hex[:12]
        with ExitStack() as stack:
            forked = Forked(admin_url=admin_url, roles=roles, names=(f"cap_b_{suffix}", f"cap_f_{suffix}"), stack=stack)
            admin = stack.enter_context(psycopg.connect(admin_url, autocommit=True))
            for name in forked.names:
                drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
                stack.callback(admin.execute, drop)
            create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(forked.names[0]))
            admin.execute(create)
            _admit(admin_url, roles, forked.names[0])
            if superuser_seed:
                with psycopg.connect(forked.url(0, agent=False), autocommit=True) as conn:
                    conn.execute(superuser_seed.encode())
            with psycopg.connect(forked.url(0), autocommit=True) as conn:
                for text in seed:
                    conn.execute(text.encode())
            clone = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            admin.execute(clone.format(*(sql.Identifier(name) for name in reversed(forked.names))))
            _admit(admin_url, roles, forked.names[1])
            forked.before, forked.after = forked.connect(0), forked.connect(1)
            yield forked

    return make


@pytest.fixture
def clone(fork_databases: Callable[..., Iterator[Forked]]) -> Iterator[Callable[..., Forked]]:
    """`clone(seed)` gives a seeded database and its clone, both of this test alone."""
    running: list[Iterator[Forked]] = []

    def start(*seed: str, superuser_seed: str = "") -> Forked:
        generator = fork_databases(*seed, superuser_seed=superuser_seed)
        running.append(generator)
        return next(generator)

    yield start
    for generator in running:
        assert next(generator, None) is None


@pytest.fixture(scope="session")
def kept_databases(admin_url: str, roles: Roles) -> Iterator[list[tuple[str, str]]]:
    """Pairs of empty databases that tests take, fill and empty again: making databases costs more than the tests."""
    pairs: list[tuple[str, str]] = []
    yield pairs
    with psycopg.connect(admin_url, autocommit=True) as admin:
        for name in (name for pair in pairs for name in pair):
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def fork(admin_url: str, roles: Roles, kept_databases: list[tuple[str, str]]) -> Iterator[Callable[..., Forked]]:
    """`fork(seed)` gives two databases that were filled with the same SQL, owned by the agent's owner role."""
    taken: list[tuple[str, str]] = []
    with ExitStack() as stack:

        def start(*seed: str) -> Forked:
            pair = kept_databases.pop() if kept_databases else _new_pair(admin_url, roles)
            taken.append(pair)
            for name in pair:
                _admit(admin_url, roles, name)
            forked = Forked(admin_url=admin_url, roles=roles, names=pair, stack=stack)
            forked.before, forked.after = forked.connect(0), forked.connect(1)
            for conn in (forked.before, forked.after):
                for text in seed:
                    conn.execute(text.encode())
            return forked

        yield start
    for pair in taken:
        for name in pair:
            _empty(admin_url, roles, name)
        kept_databases.append(pair)


def _new_pair(admin_url: str, roles: Roles) -> tuple[str, str]:
    suffix = uuid.uuid4().hex[:12]
    pair = (f"cap_b_{suffix}", f"cap_f_{suffix}")
    with psycopg.connect(admin_url, autocommit=True) as admin:
        for name in pair:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return pair


def _empty(admin_url: str, roles: Roles, database: str) -> None:
    # Takes the role's privileges on every database of the server too.
    with psycopg.connect(_in(admin_url, database), autocommit=True) as inside:
        inside.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(roles.owner)))


def _admit(admin_url: str, roles: Roles, database: str) -> None:
    with psycopg.connect(_in(admin_url, database), autocommit=True) as inside:
        for text in (
            "ALTER ROLE {agent} IN DATABASE {database} RESET ALL",
            "ALTER ROLE {agent} IN DATABASE {database} SET role = {owner}",
            "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            "GRANT CONNECT ON DATABASE {database} TO {agent}",
            "GRANT CREATE, TEMPORARY ON DATABASE {database} TO {owner}",
            "GRANT ALL ON SCHEMA public TO {owner}",
        ):
            names = {"agent": roles.agent, "owner": roles.owner, "database": database}
            inside.execute(sql.SQL(text).format(**{name: sql.Identifier(value) for name, value in names.items()}))


def _in(url: str, database: str) -> str:
    return make_conninfo("", **{**conninfo_to_dict(url), "dbname": database})


@pytest.fixture(scope="session")
def apply_edits() -> Callable[[psycopg.Connection[Any], Sequence[TableChange]], None]:
    """Writes a difference into a database, one row at a time: the plainest merge that there can be."""

    def apply(conn: psycopg.Connection[Any], changes: Sequence[TableChange]) -> None:
        with conn.transaction():
            pin_values(conn)
            for change in changes:
                for op in ("delete", "update", "insert"):
                    for edit in change.edits:
                        if edit.op == op:
                            _apply(conn, change, edit)

    return apply


def _apply(conn: psycopg.Connection[Any], change: TableChange, edit: RowEdit) -> None:
    table = sql.Identifier(change.schema, change.table)

    def value(column: str, text: str | None) -> sql.Composed:
        return sql.SQL("{}::" + change.columns[column]).format(sql.Literal(text))

    if edit.op == "insert":
        assert edit.after is not None
        names = list(edit.after)
        insert = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
            table,
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.SQL(", ").join(value(name, edit.after[name]) for name in names),
        )
        assert conn.execute(insert if names else sql.SQL("INSERT INTO {} DEFAULT VALUES").format(table)).rowcount == 1
        return
    assert edit.before is not None
    fields = change.key_columns or tuple(change.columns)
    same = sql.SQL(
        "(tableoid, ctid) = (SELECT tableoid, ctid FROM {} WHERE textin(record_out(ROW({}))) = "
        "textin(record_out(ROW({}))) LIMIT 1)"
    ).format(
        table,
        sql.SQL(", ").join(map(sql.Identifier, fields)),
        sql.SQL(", ").join(value(name, edit.before[name]) for name in fields),
    )
    if edit.op == "delete":
        assert conn.execute(sql.SQL("DELETE FROM {} WHERE {}").format(table, same)).rowcount == 1
        return
    assert edit.after
    settings = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), value(name, text)) for name, text in edit.after.items()
    )
    assert conn.execute(sql.SQL("UPDATE {} SET {} WHERE {}").format(table, settings, same)).rowcount == 1
