"""Makes the demo shop: `python seed.py ADMIN_URL` (see README.md).

The database belongs to `shop_owner`, an ordinary role: neither the shop nor its agents need a superuser.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

HERE = Path(__file__).parent
TABLES = ("customers", "products", "orders", "order_items")


def create(admin_url: str, *, password: str, database: str = "shop", owner: str = "shop_owner") -> str:
    """Make the role and an empty database of its own; an earlier shop of that owner is replaced.

    Returns the owner's URL, password included. Refuses to replace a database that belongs to anybody else.
    """
    with psycopg.connect(admin_url, autocommit=True) as admin:
        _create_role(admin, owner, password)
        found = admin.execute(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", [database]
        ).fetchone()
        if found and found[0] != owner:
            raise SystemExit(f"database {database} belongs to {found[0]}, not to {owner}: choose another name")
        name = sql.Identifier(database)
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, sql.Identifier(owner)))
    return make_conninfo(admin_url, dbname=database, user=owner, password=password)


def _create_role(admin: psycopg.Connection, owner: str, password: str) -> None:
    role = sql.Identifier(owner)
    if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [owner]).fetchone():
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    # Hashed here, so that the password itself never reaches the server or its log.
    hashed = admin.pgconn.encrypt_password(password.encode(), owner.encode(), b"scram-sha-256").decode()
    admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(hashed)))
    if not admin.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()[0]:
        admin.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(role))


def fill(url: str) -> dict[str, int]:
    """Create the tables and their rows in an empty database; returns the number of rows of each table."""
    with psycopg.connect(url) as connection:
        connection.execute((HERE / "schema.sql").read_text(encoding="utf-8"))
        connection.execute((HERE / "seed.sql").read_text(encoding="utf-8"))
        return {
            table: connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()[0]
            for table in TABLES
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the demo shop database.")
    parser.add_argument("admin_url", help="URL of a login that may create roles and databases")
    parser.add_argument("--database", default="shop")
    arguments = parser.parse_args()
    password = os.environ.get("SHOP_OWNER_PASSWORD")
    if not password:
        sys.exit("Set SHOP_OWNER_PASSWORD to the password that shop_owner shall have.")
    url = create(arguments.admin_url, password=password, database=arguments.database)
    for table, rows in fill(url).items():
        print(f"{table:12} {rows:>7,} rows")


if __name__ == "__main__":
    main()
