"""An agent with its own login, on a host with the advised pg_hba.conf, can reach and harm nothing but its fork."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from orchestrator.forks.base import Login
from orchestrator.testing.fork_host import ForkHost
from tests.integration.forks.conftest import Yard, new_targets, new_yard


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    yard: Yard
    target: str
    baseline: str
    fork: str
    other: str
    other_session: psycopg.Connection
    application: psycopg.Connection

    @property
    def names(self) -> dict[str, str]:
        return {
            "target": str(conninfo_to_dict(self.target)["dbname"]),
            "baseline": self.baseline,
            "fork": self.fork,
            "other": self.other,
            "owner": f"fy_{self.yard.installation[:8]}_owner",
            "reader": f"fy_{self.yard.installation[:8]}_reader",
            "other_pid": str(self.other_session.info.backend_pid),
            "application_pid": str(self.application.info.backend_pid),
        }


@pytest.fixture(scope="module")
def scene(fork_host: ForkHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with new_targets(fork_host) as target, new_yard(fork_host, tmp_path_factory.mktemp("scratch")) as yard:
        source = target("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'safe')")
        yield from _scene(yard, source)


def _scene(yard: Yard, source: str) -> Iterator[Scene]:
    baseline = yard.baseline(source)
    fork, other = yard.fork(baseline), yard.fork(baseline)
    with (
        psycopg.connect(yard.provider.conninfo(other, Login.AGENT), autocommit=True) as other_session,
        psycopg.connect(source, autocommit=True) as application,
    ):
        yield Scene(
            yard=yard,
            target=source,
            baseline=baseline,
            fork=fork,
            other=other,
            other_session=other_session,
            application=application,
        )


DENIED = (
    # the server and its files
    "COPY t TO PROGRAM 'true'",
    "COPY t FROM PROGRAM 'true'",
    "COPY t TO '/tmp/fy_boundary_test'",
    "COPY t FROM '/etc/passwd'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(0, '/tmp/fy_boundary_test')",
    "ALTER SYSTEM SET fsync = off",
    "SELECT pg_reload_conf()",
    "SELECT pg_rotate_logfile()",
    "CHECKPOINT",
    "CREATE TABLESPACE x LOCATION '/tmp'",
    "LOAD 'auto_explain'",
    "CREATE FUNCTION c() RETURNS int LANGUAGE c AS 'libc', 'system'",
    # settings that only a superuser may touch
    "SET session_replication_role = replica",
    "SET temp_file_limit = -1",
    "SET log_statement = 'none'",
    "SET SESSION AUTHORIZATION {other}",
    # roles
    "SET ROLE {other}",
    "SET ROLE {reader}",
    "SET ROLE postgres",
    "SET ROLE fork_host",
    "CREATE ROLE mine LOGIN",
    "ALTER ROLE {fork} SUPERUSER",
    "ALTER ROLE {fork} CONNECTION LIMIT -1",
    "ALTER ROLE {fork} VALID UNTIL 'infinity'",
    "ALTER ROLE {owner} LOGIN PASSWORD 'x'",
    "ALTER ROLE {owner} SUPERUSER",
    "ALTER ROLE {other} PASSWORD 'x'",
    "ALTER ROLE {other} SET search_path = x",
    "ALTER ROLE ALL SET search_path = x",
    "GRANT {owner} TO {other}",
    "GRANT {other} TO {fork}",
    "REVOKE {owner} FROM {other}",
    "REVOKE {owner} FROM {fork}",
    "GRANT pg_read_all_data TO {fork}",
    "DROP ROLE {other}",
    "DROP ROLE {owner}",
    "COMMENT ON ROLE {fork} IS 'mine'",
    "REASSIGN OWNED BY {owner} TO {fork}",
    "REASSIGN OWNED BY {owner} TO {other}",
    "REASSIGN OWNED BY postgres TO {fork}",
    "DROP OWNED BY {other}",
    "DROP OWNED BY postgres",
    # databases
    "CREATE DATABASE mine",
    "CREATE DATABASE mine TEMPLATE {baseline}",
    "DROP DATABASE {target} WITH (FORCE)",
    "DROP DATABASE {baseline}",
    "DROP DATABASE {other} WITH (FORCE)",
    "DROP DATABASE {fork}",
    "ALTER DATABASE {target} RENAME TO gone",
    "ALTER DATABASE {target} SET search_path = x",
    "ALTER DATABASE {target} OWNER TO {fork}",
    "ALTER DATABASE {fork} RENAME TO mine",
    "ALTER DATABASE {fork} SET statement_timeout = 0",
    "ALTER DATABASE {fork} CONNECTION LIMIT -1",
    "ALTER DATABASE {fork} OWNER TO {owner}",
    "ALTER DATABASE {baseline} ALLOW_CONNECTIONS true",
    "COMMENT ON DATABASE {fork} IS NULL",
    "COMMENT ON DATABASE {other} IS 'mine'",
    "SECURITY LABEL ON DATABASE {fork} IS 'mine'",
    # other people's sessions
    "SELECT pg_terminate_backend({other_pid})",
    "SELECT pg_cancel_backend({other_pid})",
    "SELECT pg_terminate_backend({application_pid})",
    "SELECT pg_cancel_backend({application_pid})",
    # ways around the schema
    "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
    "CREATE PUBLICATION p FOR ALL TABLES",
    "CREATE SUBSCRIPTION s CONNECTION 'dbname={target}' PUBLICATION p WITH (connect = false)",
    "SELECT pg_create_logical_replication_slot('s', 'pgoutput')",
    "SELECT pg_create_physical_replication_slot('s')",
    "CREATE EXTENSION dblink",
    "CREATE EXTENSION postgres_fdw",
    "CREATE EXTENSION file_fdw",
    "CREATE EXTENSION pageinspect",
    "UPDATE pg_database SET datallowconn = true",
    "DELETE FROM pg_authid",
    "SELECT rolpassword FROM pg_authid",
    "SELECT * FROM pg_hba_file_rules",
)
REFUSALS = (
    pg.InsufficientPrivilege,
    pg.ObjectInUse,  # one's own database, or one's own role
    pg.ActiveSqlTransaction,
    pg.InvalidParameterValue,  # no provider of security labels
    pg.FeatureNotSupported,
    pg.CantChangeRuntimeParam,
)


@pytest.mark.parametrize("as_login", [False, True], ids=["as-owner", "as-login"])
def test_an_agent_can_do_nothing_outside_its_fork(scene: Scene, as_login: bool) -> None:
    url = scene.yard.provider.conninfo(scene.fork, Login.AGENT)
    allowed = []
    with psycopg.connect(url, autocommit=True) as agent:
        agent.execute("CREATE OR REPLACE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
        if as_login:
            agent.execute("GRANT ALL ON SCHEMA public TO session_user; GRANT ALL ON t TO session_user")
            agent.execute("SET ROLE none")
        for statement in DENIED:
            try:
                agent.execute(statement.format(**scene.names))
            except REFUSALS:
                continue
            allowed.append(statement)
    assert allowed == []
    _unharmed(scene)


@pytest.mark.parametrize("database", ["{target}", "{other}", "{baseline}", "{baseline}_read", "postgres", "template1"])
def test_an_agent_gets_into_no_other_database(scene: Scene, database: str) -> None:
    parts = conninfo_to_dict(scene.yard.provider.conninfo(scene.fork, Login.AGENT))
    url = make_conninfo("", **{**parts, "dbname": database.format(**scene.names)})
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba|permission denied|not currently accepting"):
        psycopg.connect(url)


@pytest.mark.parametrize("database", ["{other}", "{baseline}", "{baseline}_read"])
def test_privileges_alone_keep_an_agent_out_of_what_is_ours(scene: Scene, database: str) -> None:
    with psycopg.connect(scene.yard.host.superuser) as conn:
        found = conn.execute(
            "SELECT has_database_privilege(%s, %s, 'CONNECT')", (scene.fork, database.format(**scene.names))
        ).fetchone()
    assert found == (False,)


def test_what_an_agent_drops_is_its_own(scene: Scene) -> None:
    url = scene.yard.provider.conninfo(scene.yard.fork(scene.baseline), Login.AGENT)
    with psycopg.connect(url, autocommit=True) as agent:
        agent.execute("DROP OWNED BY current_user CASCADE")
        assert agent.execute("SELECT to_regclass('public.t')").fetchone() == (None,)
    _unharmed(scene)
    scene.other_session.execute("CREATE SCHEMA still_possible; CREATE TEMP TABLE still_possible ()")
    scene.other_session.execute("DROP SCHEMA still_possible; DROP TABLE still_possible")


def test_the_owner_owns_no_database_and_logs_in_nowhere(scene: Scene) -> None:
    with psycopg.connect(scene.yard.host.superuser) as conn:
        owner = scene.names["owner"]
        assert conn.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", (owner,)).fetchone() == (False,)
        owned = conn.execute("SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = %s", (owner,))
        assert owned.fetchall() == []


def test_an_agents_password_is_in_no_log_and_no_catalog(scene: Scene) -> None:
    fork = scene.yard.fork(scene.baseline, opened=False)
    passwords = {
        str(conninfo_to_dict(url)["password"])
        for url in (
            *(scene.yard.provider.conninfo(fork, login) for login in Login),
            scene.yard.provider.baseline_conninfo(scene.baseline),
        )
    }
    with psycopg.connect(scene.yard.host.superuser, autocommit=True) as conn:
        conn.execute("ALTER SYSTEM SET log_statement = 'all'")
        conn.execute("SELECT pg_reload_conf()")
        try:
            scene.yard.provider.open(fork, stamp=scene.yard.stamp(fork))
            scene.yard.provider.close(fork)
            row = conn.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (fork,)).fetchone()
        finally:
            conn.execute("ALTER SYSTEM RESET log_statement")
            conn.execute("SELECT pg_reload_conf()")
    log = "".join(path.read_text(errors="replace") for path in scene.yard.host.log_dir.iterdir() if path.is_file())
    assert f'ALTER ROLE "{fork}"' in log
    assert row is not None
    assert row[0].startswith("SCRAM-SHA-256$")
    assert not [password for password in passwords if password in log or password in row[0]]


def _unharmed(scene: Scene) -> None:
    assert scene.application.execute("SELECT id, v FROM t").fetchall() == [(1, "safe")]
    assert scene.other_session.execute("SELECT id, v FROM t").fetchall() == [(1, "safe")]
    fork = scene.yard.fork(scene.baseline)
    with psycopg.connect(scene.yard.provider.conninfo(fork, Login.AGENT)) as conn:
        assert conn.execute("SELECT id, v FROM t").fetchall() == [(1, "safe")]
