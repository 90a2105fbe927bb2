"""Keeping the target's own machinery out of the way while rows are set to known values, and putting it back.

All of it happens inside the merge's transaction: other sessions never see it, and a rollback undoes it. The locks
are held until the merge ends: SHARE ROW EXCLUSIVE for triggers (which the merge holds on edited tables anyway),
ACCESS EXCLUSIVE (readers wait too) for rewrite rules, forced row security, deferred foreign keys and identity columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from psycopg import sql

from orchestrator.errors import PrivilegeMissing
from orchestrator.merge.catalog import (
    ForeignKey,
    SideEffect,
    Table,
    TableName,
    display,
    identifier,
    read_side_effects,
)
from orchestrator.merge.session import Connection

_OFF = {
    "trigger": sql.SQL("ALTER TABLE ONLY {table} DISABLE TRIGGER {name}"),
    "rule": sql.SQL("ALTER TABLE ONLY {table} DISABLE RULE {name}"),
    "row security": sql.SQL("ALTER TABLE ONLY {table} NO FORCE ROW LEVEL SECURITY"),
}
_ON = {
    ("trigger", "O"): sql.SQL("ALTER TABLE ONLY {table} ENABLE TRIGGER {name}"),
    ("trigger", "A"): sql.SQL("ALTER TABLE ONLY {table} ENABLE ALWAYS TRIGGER {name}"),
    ("rule", "O"): sql.SQL("ALTER TABLE ONLY {table} ENABLE RULE {name}"),
    ("rule", "A"): sql.SQL("ALTER TABLE ONLY {table} ENABLE ALWAYS RULE {name}"),
    ("row security", "F"): sql.SQL("ALTER TABLE ONLY {table} FORCE ROW LEVEL SECURITY"),
}


@contextmanager
def unseen_by_policies(conn: Connection, tables: Sequence[Table]) -> Iterator[None]:
    """Rows that forced row security hides from their owner can be read within."""
    yield from _without(conn, [effect for effect in read_side_effects(conn, tables) if effect.kind == "row security"])


@contextmanager
def without_side_effects(conn: Connection, tables: Sequence[Table]) -> Iterator[None]:
    """Rows can be written within, and no trigger or rule of the user's runs: what they did in the fork is in the
    changeset already. Raises PrivilegeMissing where one is there and the login does not own the table."""
    yield from _without(conn, read_side_effects(conn, tables))


def _without(conn: Connection, effects: Sequence[SideEffect]) -> Iterator[None]:
    for effect in effects:
        if not effect.owned:
            raise PrivilegeMissing(
                f"table {display(effect.table)} has a {effect.kind} ({effect.name}) that only the table's owner "
                f"can switch off, and login {conn.info.user!r} is not the owner: merge with the owner's login"
            )
        conn.execute(_OFF[effect.kind].format(table=identifier(effect.table), name=sql.Identifier(effect.name)))
    yield
    conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for effect in effects:
        statement = _ON[effect.kind, effect.state]
        conn.execute(statement.format(table=identifier(effect.table), name=sql.Identifier(effect.name)))


@contextmanager
def deferred(conn: Connection, foreign_keys: Iterable[ForeignKey]) -> Iterator[None]:
    """Foreign keys are checked at the end of the block, not row by row; their definitions are as before after it."""
    fixed = [key for key in foreign_keys if not key.deferrable]
    for key in fixed:
        if not key.owned:
            raise PrivilegeMissing(
                f"foreign key {key.name} of table {display(key.child)} must be checked late for this merge, and login "
                f"{conn.info.user!r} does not own the table: merge with the owner's login"
            )
        _alter(conn, key, sql.SQL("DEFERRABLE INITIALLY DEFERRED"))
    conn.execute("SET CONSTRAINTS ALL DEFERRED")
    yield
    conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for key in fixed:
        _alter(conn, key, sql.SQL("NOT DEFERRABLE"))


@contextmanager
def settable(conn: Connection, table: Table, columns: Iterable[str]) -> Iterator[None]:
    """Columns GENERATED ALWAYS AS IDENTITY can be updated within."""
    names = [name for name in columns if table.columns[name].identity_always]
    for name in names:
        _generated(conn, table.name, name, sql.SQL("BY DEFAULT"))
    yield
    for name in names:
        _generated(conn, table.name, name, sql.SQL("ALWAYS"))


def _generated(conn: Connection, table: TableName, column: str, when: sql.SQL) -> None:
    conn.execute(
        sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET GENERATED {}").format(
            identifier(table), sql.Identifier(column), when
        )
    )


def _alter(conn: Connection, key: ForeignKey, how: sql.SQL) -> None:
    conn.execute(
        sql.SQL("ALTER TABLE {} ALTER CONSTRAINT {} {}").format(identifier(key.child), sql.Identifier(key.name), how)
    )
