from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from orchestrator.capture.fingerprint import read_schema
from orchestrator.capture.schema import ObjectKey, SchemaSnapshot, diff_schema
from orchestrator.pgtools import find_pg_tools

SCHEMAS = Path(__file__).parent / "schemas"
SHOP = (SCHEMAS / "shop.sql").read_text()
MUTATIONS = (SCHEMAS / "mutations.sql").read_text().splitlines()

NO_MUTATIONS = [
    "ANALYZE shop.customers",
    "INSERT INTO shop.orders (customer_id, placed_on) VALUES (1, '2024-06-01')",
    "UPDATE shop.customers SET score = 5",
    "TRUNCATE shop.scratch",
    "REFRESH MATERIALIZED VIEW shop.totals",
    "REFRESH MATERIALIZED VIEW shop.totals WITH NO DATA",
    "SELECT nextval('shop.numbers')",
    "ALTER SEQUENCE shop.numbers RESTART",
    "REINDEX TABLE shop.customers",
    "CLUSTER shop.orders USING orders_pkey; ALTER TABLE shop.orders SET WITHOUT CLUSTER",
    "CREATE TEMPORARY TABLE passing (id int)",
    "CREATE TEMPORARY VIEW passing AS SELECT 1",
    "SET search_path = shop, public",
    "SET quote_all_identifiers = on",
    "SET datestyle = 'German'",
    "SELECT lo_from_bytea(0, 'x')",
    "GRANT SELECT ON shop.customers TO pg_monitor; REVOKE SELECT ON shop.customers FROM pg_monitor",
    "REVOKE EXECUTE ON FUNCTION shop.add(int, int) FROM PUBLIC; GRANT EXECUTE ON FUNCTION shop.add(int, int) TO PUBLIC",
    "ALTER TABLE shop.orders ADD COLUMN passing int; ALTER TABLE shop.orders DROP COLUMN passing",
]


@pytest.fixture(scope="module")
def shop(fork_databases: Callable[..., Iterator[Any]]) -> Iterator[Any]:
    """The shop of the agent's owner role, and its clone."""
    generator = fork_databases(SHOP)
    yield next(generator)
    assert next(generator, None) is None


@pytest.fixture(scope="module")
def admin(shop: Any) -> psycopg.Connection[Any]:
    conn: psycopg.Connection[Any] = shop.connect(1, agent=False)
    return conn


@pytest.fixture(scope="module")
def original(admin: psycopg.Connection[Any]) -> SchemaSnapshot:
    return read_schema(admin)


def after(conn: psycopg.Connection[Any], mutation: str) -> SchemaSnapshot:
    with conn.transaction(force_rollback=True):
        conn.execute(mutation.encode())
        return read_schema(conn)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_change_of_the_schema_changes_the_fingerprint(
    mutation: str, admin: psycopg.Connection[Any], original: SchemaSnapshot
) -> None:
    changed = after(admin, mutation)
    assert changed.fingerprint != original.fingerprint
    assert diff_schema(original, changed)


def test_the_table_of_mutations_is_long_enough() -> None:
    assert len(set(MUTATIONS)) == len(MUTATIONS) >= 150


@pytest.mark.parametrize("statement", NO_MUTATIONS)
def test_what_changes_data_alone_leaves_the_fingerprint(
    statement: str, admin: psycopg.Connection[Any], original: SchemaSnapshot
) -> None:
    assert diff_schema(original, after(admin, statement)) == ()


def test_the_order_in_which_things_were_made_does_not_matter(
    admin: psycopg.Connection[Any],
) -> None:
    one, two = "CREATE TABLE public.a (id int CHECK (id > 0))", "CREATE TABLE public.b (id int CHECK (id > 0))"
    assert after(admin, f"{one};{two}").fingerprint == after(admin, f"{two};{one}").fingerprint


def test_a_clone_has_the_fingerprint_of_its_source_for_every_role(shop: Any, original: SchemaSnapshot) -> None:
    assert diff_schema(read_schema(shop.before), original) == ()
    assert read_schema(shop.before).fingerprint == read_schema(shop.after).fingerprint == original.fingerprint
    assert original.fingerprint.startswith("sha256:")


def test_a_restored_dump_has_the_fingerprint_of_its_source(
    shop: Any, original: SchemaSnapshot, fresh_database: Callable[..., str]
) -> None:
    tools = find_pg_tools(minimum_major=18)
    target = fresh_database("cap_restored")
    with psycopg.connect(target, autocommit=True) as conn:
        # Shift the identities, so that nothing falls into its old place.
        for number in range(50):
            conn.execute(f"CREATE TABLE shift_{number} (id int)".encode())
            conn.execute(f"DROP TABLE shift_{number}".encode())
    dump = subprocess.run([tools.pg_dump, "--dbname", shop.url(0, agent=False)], capture_output=True, check=True)
    subprocess.run(
        [tools.psql, "--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--dbname", target],
        input=dump.stdout,
        capture_output=True,
        check=True,
    )
    with psycopg.connect(target, autocommit=True) as conn:
        restored = read_schema(conn)
    assert diff_schema(original, restored) == ()
    assert restored.fingerprint == original.fingerprint


def test_the_objects_that_differ_are_named(admin: psycopg.Connection[Any], original: SchemaSnapshot) -> None:
    mutation = (
        'ALTER TABLE "Odd Schema"."Tab ""le" ALTER "ключ" SET NOT NULL; DROP VIEW shop.recent;'
        "CREATE FUNCTION shop.one(a int[], b text) RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    changes = [(change.kind, change.name, change.change) for change in diff_schema(original, after(admin, mutation))]
    assert changes == [
        ("column", '"Odd Schema"."Tab ""le"."ключ"', "changed"),
        ("column", "shop.recent.id", "removed"),
        ("column", "shop.recent.name", "removed"),
        ("constraint", '"Odd Schema"."Tab ""le"."Tab ""le_ключ_not_null"', "added"),
        ("function", "shop.one(integer[],text)", "added"),
        ("view", "shop.recent", "removed"),
    ]


def test_neutral_names_make_other_owners_equal(
    shop: Any, original: SchemaSnapshot, admin: psycopg.Connection[Any]
) -> None:
    with admin.transaction(force_rollback=True):
        me = admin.info.user
        admin.execute(f'REASSIGN OWNED BY "{shop.roles.owner}" TO "{me}"'.encode())
        admin.execute(
            f'ALTER DEFAULT PRIVILEGES FOR ROLE "{me}" IN SCHEMA shop GRANT SELECT ON TABLES TO PUBLIC'.encode()
        )
        admin.execute(
            f'ALTER DEFAULT PRIVILEGES FOR ROLE "{shop.roles.owner}" IN SCHEMA shop'
            " REVOKE SELECT ON TABLES FROM PUBLIC".encode()
        )
        admin.execute(
            f'REVOKE ALL ON SCHEMA public FROM "{shop.roles.owner}"; GRANT ALL ON SCHEMA public TO "{me}"'.encode()
        )
        other = read_schema(admin)
        neutral = read_schema(admin, role_names={me: "owner", shop.roles.owner: "owner"})
    assert other.fingerprint != original.fingerprint
    expected = read_schema(admin, role_names={me: "owner", shop.roles.owner: "owner"})
    assert diff_schema(expected, neutral) == ()
    assert shop.roles.owner not in "".join(neutral.objects.values())


def test_ignored_schemas_are_not_read(admin: psycopg.Connection[Any], original: SchemaSnapshot) -> None:
    marker = "CREATE SCHEMA forkyard; CREATE TABLE forkyard.merges (id int PRIMARY KEY)"
    assert after(admin, marker).fingerprint == original.fingerprint
    with admin.transaction(force_rollback=True):
        admin.execute(marker.encode())
        seen = read_schema(admin, ignore_schemas=())
    assert ObjectKey(kind="table", name="forkyard.merges") in seen.objects


def test_an_open_transaction_sees_its_own_changes_and_keeps_its_settings(admin: psycopg.Connection[Any]) -> None:
    with admin.transaction(force_rollback=True):
        admin.execute("SET LOCAL search_path = shop")
        admin.execute("CREATE TABLE mine (id int)")
        assert ObjectKey(kind="table", name="shop.mine") in read_schema(admin).objects
        assert admin.execute("SHOW search_path").fetchone() == ("shop",)


def test_passwords_of_user_mappings_are_not_read(admin: psycopg.Connection[Any]) -> None:
    mutation = (
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        "CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (password 'hunter2')"
    )
    seen = after(admin, mutation)
    assert any(key.kind == "user mapping" for key in seen.objects)
    assert "hunter2" not in "".join(seen.objects.values())


def test_a_server_that_was_left_to_an_url_is_not_part_of_it(shop: Any) -> None:
    url = make_conninfo(
        "", **{**conninfo_to_dict(shop.url(1)), "options": "-c search_path=shop -c TimeZone=Asia/Tokyo"}
    )
    with psycopg.connect(url, autocommit=True) as conn:
        assert read_schema(conn).fingerprint == read_schema(shop.before).fingerprint
