"""What a baseline takes over from its target, whatever the target is like."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from orchestrator.errors import NotPossible, PrivilegeMissing, TargetUnreachable
from orchestrator.forks.base import Login
from orchestrator.forks.clone import CloneProvider
from tests.integration.forks.conftest import Yard

Target = Callable[..., str]

SHOP = """
CREATE EXTENSION citext;
CREATE SCHEMA extras;
CREATE EXTENSION hstore SCHEMA extras;
CREATE SCHEMA sales;
CREATE TYPE sales.mood AS ENUM ('good', 'bad');
CREATE TABLE sales.orders (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mail citext, tags extras.hstore, mood sales.mood,
    total numeric(10, 2) CHECK (total >= 0), twice numeric GENERATED ALWAYS AS (total * 2) STORED
) ;
CREATE TABLE sales.lines (order_id int REFERENCES sales.orders, place int, PRIMARY KEY (order_id, place))
    PARTITION BY RANGE (place);
CREATE TABLE sales.lines_1 PARTITION OF sales.lines FOR VALUES FROM (0) TO (100);
CREATE VIEW sales.summary AS SELECT mood, count(*) FROM sales.orders GROUP BY mood;
CREATE MATERIALIZED VIEW sales.frozen AS SELECT * FROM sales.summary;
CREATE FUNCTION sales.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER touch BEFORE UPDATE ON sales.orders FOR EACH ROW EXECUTE FUNCTION sales.touch();
INSERT INTO sales.orders (mail, tags, mood, total) SELECT 'A@b.c', 'k=>v', 'good', g FROM generate_series(1, 50) AS g;
INSERT INTO sales.lines VALUES (1, 1), (2, 99);
SELECT lo_from_bytea(0, 'large');
CREATE SCHEMA forkyard;
CREATE TABLE forkyard.merges (run_id text);
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE FUNCTION no_drop() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
CREATE EVENT TRIGGER no_drop ON sql_drop EXECUTE FUNCTION no_drop();
ALTER EVENT TRIGGER no_drop DISABLE;
"""


def test_a_fork_holds_what_the_target_holds_owned_by_the_neutral_owner(yard: Yard, target: Target) -> None:
    fork = yard.fork(yard.baseline(target(SHOP)))
    with psycopg.connect(yard.provider.conninfo(fork, Login.AGENT)) as conn:
        assert conn.execute("SELECT count(*), sum(twice) FROM sales.orders WHERE mail = 'a@B.C'").fetchone() == (
            50,
            2550,
        )
        assert conn.execute("SELECT count(*) FROM sales.lines_1").fetchone() == (2,)
        assert conn.execute("SELECT * FROM sales.frozen").fetchall() == [("good", 50)]
        assert conn.execute("SELECT convert_from(lo_get(oid), 'UTF8') FROM pg_largeobject_metadata").fetchall() == [
            ("large",)
        ]
        conn.execute("INSERT INTO sales.orders (mail, total) VALUES ('x', 1)")
        assert conn.execute("SELECT max(id) FROM sales.orders").fetchone() == (51,)
        owners = conn.execute(
            "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'sales'::regnamespace"
        ).fetchall()
        assert owners == [(f"fy_{yard.installation[:8]}_owner",)]


def test_what_would_lead_out_of_a_fork_or_be_ours_is_not_copied(yard: Yard, target: Target) -> None:
    fork = yard.fork(yard.baseline(target(SHOP)))
    with psycopg.connect(yard.provider.conninfo(fork, Login.AGENT)) as conn:
        assert conn.execute("SELECT evtname FROM pg_event_trigger").fetchall() == []
        assert conn.execute("SELECT pubname FROM pg_publication").fetchall() == []
        assert conn.execute("SELECT to_regnamespace('forkyard')").fetchone() == (None,)


def test_an_agent_can_change_the_schema_and_what_it_makes_belongs_to_the_owner(yard: Yard, target: Target) -> None:
    fork = yard.fork(yard.baseline(target("CREATE TABLE t (id int PRIMARY KEY)")))
    with psycopg.connect(yard.provider.conninfo(fork, Login.AGENT), autocommit=True) as conn:
        conn.execute(
            "ALTER TABLE t ADD COLUMN v text; CREATE SCHEMA mine; CREATE TABLE mine.u (); CREATE TEMP TABLE x ()"
        )
        conn.execute("CREATE EXTENSION citext")
        conn.execute("GRANT CREATE, USAGE ON SCHEMA mine TO session_user")
        conn.execute("SET ROLE none")
        conn.execute("CREATE TABLE mine.by_login ()")
    yard.provider.close(fork)
    with psycopg.connect(yard.provider.conninfo(fork, Login.CAPTURE)) as conn:
        owners = conn.execute(
            "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace IN"
            " ('mine'::regnamespace, 'public'::regnamespace)"
        ).fetchall()
    assert owners == [(f"fy_{yard.installation[:8]}_owner",)]


def test_what_an_agent_does_to_its_own_login_does_not_hinder_capture(yard: Yard, target: Target) -> None:
    fork = yard.fork(yard.baseline(target("CREATE TABLE t (id int)")))
    with psycopg.connect(yard.provider.conninfo(fork, Login.AGENT), autocommit=True) as conn:
        conn.execute("SET ROLE none")
        conn.execute("ALTER ROLE current_user SET default_transaction_read_only = on")
        conn.execute(f"ALTER ROLE current_user IN DATABASE {fork} SET role = 'none'")
        conn.execute(f"ALTER ROLE current_user IN DATABASE {fork} SET search_path = nowhere")
        conn.execute("ALTER ROLE current_user PASSWORD 'mine'")
        conn.execute("DROP OWNED BY current_user")
    yard.provider.close(fork)
    with psycopg.connect(yard.provider.conninfo(fork, Login.CAPTURE)) as conn:
        assert conn.execute("SELECT count(*) FROM t").fetchone() == (0,)
        conn.execute("CREATE TABLE u ()")


def test_the_targets_own_settings_come_along(yard: Yard, target: Target) -> None:
    source = target('CREATE SCHEMA app; CREATE TABLE app.t (); CREATE SCHEMA "Odd, one"')
    name = conninfo_to_dict(source)["dbname"]
    with psycopg.connect(source, autocommit=True) as conn:
        conn.execute(f'ALTER DATABASE {name} SET search_path = app, "Odd, one", public')
        conn.execute(f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'")
        conn.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        conn.execute(f"ALTER DATABASE {name} SET log_statement = 'none'")
    fork = yard.fork(yard.baseline(source))
    with psycopg.connect(yard.provider.conninfo(fork, Login.AGENT)) as conn:
        settings = [
            conn.execute("SELECT current_setting(%s)", (setting,)).fetchone()
            for setting in ("search_path", "timezone", "default_transaction_read_only")
        ]
        assert settings == [('app, "Odd, one", public',), ("Asia/Tokyo",), ("on",)]
        assert conn.execute("SELECT to_regclass('t')").fetchone() == ("t",)
    yard.provider.close(fork)


@pytest.mark.parametrize(
    ("options", "encoding", "provider", "locale"),
    [
        ("TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'", "LATIN1", "c", None),
        ("TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C'", "UTF8", "b", "C"),
        ("TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'", "SQL_ASCII", "c", None),
    ],
)
def test_encoding_and_locale_are_the_targets(
    yard: Yard, target: Target, options: str, encoding: str, provider: str, locale: str | None
) -> None:
    baseline = yard.baseline(target("CREATE TABLE t (v text); INSERT INTO t VALUES ('plain')", options))
    with psycopg.connect(yard.provider.baseline_conninfo(baseline), client_encoding="utf8") as conn:
        found = conn.execute(
            "SELECT pg_encoding_to_char(encoding), datlocprovider, datlocale FROM pg_database"
            " WHERE datname = current_database()"
        ).fetchone()
        assert found == (encoding, provider, locale)


def test_a_target_without_the_schema_public_gives_forks_without_it(yard: Yard, target: Target) -> None:
    fork = yard.fork(yard.baseline(target("DROP SCHEMA public; CREATE SCHEMA app; CREATE TABLE app.t ()")))
    with psycopg.connect(yard.provider.conninfo(fork, Login.AGENT)) as conn:
        assert conn.execute("SELECT to_regnamespace('public'), to_regclass('app.t')").fetchone() == (None, "app.t")


def test_an_empty_target_is_a_target(yard: Yard, target: Target) -> None:
    fork = yard.fork(yard.baseline(target()))
    with psycopg.connect(yard.provider.conninfo(fork, Login.AGENT), autocommit=True) as conn:
        conn.execute("CREATE TABLE t ()")


def test_rows_of_a_baseline_are_frozen_and_analysed(yard: Yard, target: Target) -> None:
    baseline = yard.baseline(target("CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) AS g"))
    with psycopg.connect(yard.provider.baseline_conninfo(baseline)) as conn:
        assert conn.execute(
            "SELECT relallvisible = relpages, reltuples FROM pg_class WHERE oid = 't'::regclass"
        ).fetchone() == (
            True,
            1000,
        )


def test_a_login_that_may_only_read_is_enough_for_the_target(
    yard: Yard, target: Target, login: Callable[..., str]
) -> None:
    reader = login()
    source = target(
        f"CREATE TABLE t (id serial); GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader};"
        f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {reader}"
    )
    yard.baseline(as_login(source, reader))


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            "CREATE TABLE a (); CREATE TABLE b (); GRANT SELECT ON b TO {login}; CREATE TABLE c ()",
            'may not read the table public.a (and 1 more): GRANT SELECT ON ALL TABLES IN SCHEMA "public" TO "{login}"',
        ),
        ("CREATE SEQUENCE s", "may not read the sequence public.s: GRANT SELECT ON ALL SEQUENCES IN SCHEMA"),
        ("CREATE SCHEMA app; CREATE TABLE app.t ()", 'may not use the schema app: GRANT USAGE ON SCHEMA "app"'),
        (
            "CREATE TABLE t (); GRANT SELECT ON t TO {login}; ALTER TABLE t ENABLE ROW LEVEL SECURITY",
            'may not see all rows of public.t: ALTER ROLE "{login}" BYPASSRLS',
        ),
    ],
)
def test_a_login_that_sees_too_little_gets_the_statement_that_mends_it_and_nothing_is_made(
    yard: Yard, target: Target, login: Callable[..., str], script: str, sentence: str
) -> None:
    name = login()
    source = as_login(target(script.replace("{login}", name)), name)
    with pytest.raises(PrivilegeMissing) as caught:
        yard.baseline(source)
    assert sentence.replace("{login}", name) in str(caught.value)
    assert yard.left() == set()


def test_a_wrong_password_for_the_target_is_one_sentence(yard: Yard, target: Target) -> None:
    source = make_conninfo("", **{**conninfo_to_dict(target()), "password": "hunter2"})
    with pytest.raises(TargetUnreachable, match="password authentication failed") as caught:
        yard.baseline(source)
    assert "hunter2" not in str(caught.value)
    assert yard.left() == set()


@pytest.mark.parametrize(
    ("attributes", "lacks"), [("", "CREATEDB and CREATEROLE"), ("CREATEDB", "CREATEROLE"), ("CREATEROLE", "CREATEDB")]
)
def test_a_fork_host_login_without_privileges_gets_the_statement_that_mends_it(
    yard: Yard, target: Target, login: Callable[..., str], attributes: str, lacks: str
) -> None:
    name = login(attributes)
    provider = CloneProvider(
        as_login(yard.host.superuser, name), installation=yard.installation, key=b"", scratch_dir=yard.scratch
    )
    baseline = yard.name("baseline")
    with pytest.raises(PrivilegeMissing) as caught:
        provider.create_baseline(baseline, source=target(), stamp=yard.stamp(baseline))
    assert f'lacks {lacks}: ALTER ROLE "{name}" {lacks.replace(" and ", " ")}' in str(caught.value)
    failed = [finding for finding in provider.check() if not finding.ok]
    assert [finding.subject for finding in failed] == ["privileges"]


def test_an_extension_that_only_a_superuser_may_create_is_named(yard: Yard, target: Target) -> None:
    source = target("CREATE EXTENSION pageinspect")
    with pytest.raises(PrivilegeMissing, match=r'extension "pageinspect".*ALTER ROLE "fork_host" SUPERUSER'):
        yard.baseline(source)
    assert yard.left_baselines() == set()


def test_a_superuser_can_be_the_fork_hosts_login_too(yard: Yard, target: Target) -> None:
    provider = CloneProvider(yard.host.superuser, installation=yard.installation, key=b"test", scratch_dir=yard.scratch)
    baseline, fork = yard.name("baseline"), yard.name("fork")
    script = (
        "CREATE EXTENSION postgres_fdw; CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw;"
        "CREATE USER MAPPING FOR CURRENT_USER SERVER away OPTIONS (user 'x', password 'y');"
        "CREATE FOREIGN TABLE far (id int) SERVER away; CREATE EXTENSION pageinspect; CREATE TABLE t ()"
    )
    provider.create_baseline(baseline, source=target(script), stamp=yard.stamp(baseline))
    provider.create(fork, baseline=baseline, stamp=yard.stamp(fork))
    provider.open(fork, stamp=yard.stamp(fork))
    with psycopg.connect(provider.conninfo(fork, Login.AGENT), autocommit=True) as conn:
        assert conn.execute("SELECT to_regclass('far'), count(*) FROM pg_user_mappings").fetchone() == ("far", 0)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw")
        conn.execute("GRANT ALL ON SCHEMA public TO session_user; SET ROLE none; CREATE TABLE public.by_login ()")
    provider.close(fork)
    provider.destroy(fork)
    provider.destroy_baseline(baseline)
    assert yard.left() == set()


def test_a_target_may_live_in_another_cluster_and_a_role_that_the_fork_host_lacks_is_named(
    yard: Yard, fresh_database: Callable[..., str]
) -> None:
    source, role = fresh_database("forks"), f"policy_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(source, autocommit=True) as conn:
        conn.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
        fork = yard.fork(yard.baseline(source))
        with psycopg.connect(yard.provider.conninfo(fork, Login.AGENT)) as agent:
            assert agent.execute("SELECT count(*) FROM t").fetchone() == (1,)
        conn.execute(f"CREATE ROLE {role}")
        try:
            conn.execute(f"CREATE POLICY p ON t TO {role}")
            with pytest.raises(NotPossible, match=f'CREATE ROLE "{role}" NOLOGIN'):
                yard.baseline(source)
        finally:
            conn.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_the_password_of_the_target_is_in_no_scratch_file(yard: Yard, target: Target) -> None:
    yard.baseline(target("CREATE TABLE t ()"))
    assert list(yard.scratch.iterdir()) == []


def test_a_malformed_connection_string_is_the_users_mistake(yard: Yard) -> None:
    with pytest.raises(TargetUnreachable, match="not valid"):
        yard.baseline("postgresql://app:hunter2@db/shop?nonsense")
    assert yard.left() == set()


def as_login(url: str, name: str) -> str:
    return make_conninfo("", **{**conninfo_to_dict(url), "user": name, "password": name})
