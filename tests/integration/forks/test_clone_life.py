"""The life of forks under bad circumstances: kills, races, busy templates, full servers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from orchestrator.errors import BaselineBusy, CapacityExceeded, ForeignResource, ProviderUnavailable, TargetUnreachable
from orchestrator.forks.base import Login
from orchestrator.forks.clone import CloneProvider
from tests.integration.forks.conftest import Yard

Target = Callable[..., str]

MAKER = """
import sys, json
from pathlib import Path
from orchestrator.forks.base import Stamp
from orchestrator.forks.clone import CloneProvider
order = json.load(sys.stdin)
scratch = Path(order["scratch"])
provider = CloneProvider(order["host"], installation=order["installation"], key=b"test", scratch_dir=scratch)
provider.create_baseline(order["name"], source=order["source"], stamp=Stamp.from_json(order["stamp"]))
"""


def _make_in_another_process(yard: Yard, name: str, source: str) -> subprocess.Popen[bytes]:
    order = {
        "host": yard.host.login,
        "installation": yard.installation,
        "scratch": str(yard.scratch),
        "name": name,
        "source": source,
        "stamp": yard.stamp(name).to_json(),
    }
    maker = subprocess.Popen(
        [sys.executable, "-c", MAKER], stdin=subprocess.PIPE, cwd=Path(__file__).parents[3], stderr=subprocess.DEVNULL
    )
    assert maker.stdin is not None
    maker.stdin.write(json.dumps(order).encode())
    maker.stdin.close()
    return maker


def _wait(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


@pytest.mark.parametrize("moment", ["dump", "restore", "copy"])
def test_a_baseline_whose_maker_was_killed_is_listed_as_unfinished_and_can_be_made_again(
    yard: Yard, target: Target, moment: str
) -> None:
    source = target("CREATE TABLE t AS SELECT g, repeat('x', 500) FROM generate_series(1, 60000) AS g")
    name = yard.name("baseline")
    maker = _make_in_another_process(yard, name, source)
    reached = {
        "dump": lambda: any(yard.scratch.glob(f"{name}.*/dump")),
        "restore": lambda: name in yard.left() and any(yard.scratch.glob(f"{name}.*/dump.list")),
        "copy": lambda: f"{name}_read" in yard.left(),
    }
    _wait(reached[moment])
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    if moment != "copy":  # the copy may have been complete a moment later, its stamp included
        assert all(found.stamp is None for found in yard.provider.list())
    yard.provider.create_baseline(name, source=source, stamp=yard.stamp(name))
    assert [(found.name, found.stamp) for found in yard.provider.list()] == [(name, yard.stamp(name))]
    with psycopg.connect(yard.provider.baseline_conninfo(name)) as conn:
        assert conn.execute("SELECT count(*) FROM t").fetchone() == (60000,)
    assert list(yard.scratch.iterdir()) == []


def test_a_failed_import_leaves_nothing(yard: Yard, target: Target) -> None:
    # An operator class is something that only a superuser can make, so the restore fails near its end.
    source = target(
        "CREATE TABLE t (); CREATE OPERATOR CLASS odd FOR TYPE int4 USING hash"
        " AS OPERATOR 1 =, FUNCTION 1 hashint4(int4)"
    )
    with pytest.raises(Exception, match="must be superuser"):
        yard.baseline(source)
    assert yard.left_baselines() == set()
    assert list(yard.scratch.iterdir()) == []


def test_a_baseline_with_a_session_is_busy_after_five_seconds(yard: Yard, target: Target) -> None:
    baseline = yard.baseline(target("CREATE TABLE t ()"))
    fork = yard.name("fork")
    with psycopg.connect(yard.host.superuser, autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(baseline)))
        session = psycopg.connect(yard.host.url(baseline))
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(baseline)))
        began = time.monotonic()
        with session, pytest.raises(BaselineBusy) as caught:
            yard.provider.create(fork, baseline=baseline, stamp=yard.stamp(fork))
        assert time.monotonic() - began < 7
        assert caught.value.retryable
    yard.provider.create(fork, baseline=baseline, stamp=yard.stamp(fork))


def test_a_stale_worker_waits_for_the_new_one_and_the_other_way_round(yard: Yard, target: Target) -> None:
    baseline, fork = yard.baseline(target("CREATE TABLE t ()")), yard.name("fork")
    key = f"forkyard:{fork}"
    with psycopg.connect(yard.host.login, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (key,))
        worker = threading.Thread(
            target=yard.provider.create, args=(fork,), kwargs={"baseline": baseline, "stamp": yard.stamp(fork)}
        )
        worker.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        _wait(lambda: holder.execute(waiting).fetchone() == (1,))
        assert yard.provider.present(fork) == frozenset()
    worker.join()
    assert fork in {found.name for found in yard.provider.list()}


def test_a_killed_worker_does_not_keep_the_lock(yard: Yard, target: Target) -> None:
    baseline, fork = yard.baseline(target("CREATE TABLE t ()")), yard.name("fork")
    holder = psycopg.connect(yard.host.login, autocommit=True)
    holder.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"forkyard:{fork}",))
    with psycopg.connect(yard.host.superuser) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", (holder.info.backend_pid,))
    yard.provider.create(fork, baseline=baseline, stamp=yard.stamp(fork))
    holder.close()


def test_a_fork_whose_agent_prepared_a_transaction_can_be_closed_and_destroyed(yard: Yard, target: Target) -> None:
    fork = yard.fork(yard.baseline(target("CREATE TABLE t (id int)")))
    for gid in ("one", "two"):
        with psycopg.connect(yard.provider.conninfo(fork, Login.AGENT), autocommit=True) as conn:
            conn.execute("BEGIN")
            conn.execute("SET LOCAL ROLE none" if gid == "two" else "INSERT INTO t VALUES (1)")
            conn.execute(f"PREPARE TRANSACTION '{fork}.{gid}'")
    yard.provider.close(fork)
    with psycopg.connect(yard.provider.conninfo(fork, Login.CAPTURE)) as conn:
        assert conn.execute("SELECT count(*) FROM t").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM pg_prepared_xacts").fetchone() == (0,)
    yard.provider.destroy(fork)


def test_a_destroy_with_a_prepared_transaction_and_no_close_works_too(yard: Yard, target: Target) -> None:
    fork = yard.fork(yard.baseline(target("CREATE TABLE t (id int)")))
    with psycopg.connect(yard.provider.conninfo(fork, Login.AGENT), autocommit=True) as conn:
        conn.execute("BEGIN; INSERT INTO t VALUES (1)")
        conn.execute(f"PREPARE TRANSACTION '{fork}.x'")
    yard.provider.destroy(fork)
    assert fork not in yard.left()


def test_an_agent_in_the_middle_of_a_statement_is_ended_by_close(yard: Yard, target: Target) -> None:
    fork = yard.fork(yard.baseline(target("CREATE TABLE t (id int)")))
    conn = psycopg.connect(yard.provider.conninfo(fork, Login.AGENT), autocommit=True)
    ended: list[str] = []

    def work() -> None:
        try:
            conn.execute("INSERT INTO t SELECT 1 FROM (SELECT pg_sleep(60)) AS x")
        except psycopg.OperationalError as exc:
            ended.append(str(exc))

    agent = threading.Thread(target=work)
    agent.start()
    with psycopg.connect(yard.host.superuser, autocommit=True) as admin:
        busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state = 'active'"
        _wait(lambda: admin.execute(busy, (fork,)).fetchone() == (1,))
    yard.provider.close(fork)
    agent.join(5)
    conn.close()
    assert ended


def test_agents_that_reconnect_all_the_time_do_not_survive_close(yard: Yard, target: Target) -> None:
    fork = yard.fork(yard.baseline(target("CREATE TABLE t (id int)")))
    url, stop, got_in = yard.provider.conninfo(fork, Login.AGENT), threading.Event(), threading.Event()

    def knock() -> None:
        while not stop.is_set():
            try:
                conn = psycopg.connect(url)
                got_in.set()
                conn.close()
            except psycopg.OperationalError:
                pass

    agents = [threading.Thread(target=knock) for _ in range(2)]
    for agent in agents:
        agent.start()
    assert got_in.wait(20)
    yard.provider.close(fork)
    with psycopg.connect(yard.host.superuser) as admin:
        left = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND state IS NOT NULL", (fork,))
        assert left.fetchone() == (0,)
    stop.set()
    for agent in agents:
        agent.join()


def test_a_third_session_of_an_agent_is_refused(yard: Yard, target: Target) -> None:
    fork = yard.fork(yard.baseline(target("CREATE TABLE t (id int)")))
    url = yard.provider.conninfo(fork, Login.AGENT)
    with psycopg.connect(url), psycopg.connect(url), pytest.raises(psycopg.OperationalError, match="too many"):
        psycopg.connect(url)


def test_a_server_without_a_free_connection_is_full(yard: Yard, target: Target, login: Callable[..., str]) -> None:
    name = login("CREATEDB CREATEROLE CONNECTION LIMIT 0")
    crowded = CloneProvider(
        yard.host.login.replace("//fork_host:", f"//{name}:").replace(
            yard.host.login.split(":")[2].split("@")[0], name
        ),
        installation=yard.installation,
        key=b"",
        scratch_dir=yard.scratch,
    )
    with pytest.raises(CapacityExceeded, match="too many connections"):
        list(crowded.list())


def test_a_fork_host_that_is_away_may_come_back(tmp_path: Path, yard: Yard) -> None:
    away = CloneProvider(
        "postgresql://admin:x@127.0.0.1:1/postgres", installation=yard.installation, key=b"", scratch_dir=tmp_path
    )
    with pytest.raises(ProviderUnavailable) as caught:
        list(away.list())
    assert caught.value.retryable
    findings = list(away.check())
    assert [(finding.subject, finding.ok) for finding in findings] == [("fork host", False)]


def test_a_wrong_password_of_the_fork_host_is_for_the_user_to_mend(yard: Yard, tmp_path: Path) -> None:
    wrong = CloneProvider(
        yard.host.login.replace("fork_host:", "fork_host:not"),
        installation=yard.installation,
        key=b"",
        scratch_dir=tmp_path,
    )
    with pytest.raises(TargetUnreachable, match="password authentication failed"):
        list(wrong.list())


def test_a_healthy_host_passes_all_checks(yard: Yard) -> None:
    assert [finding for finding in yard.provider.check() if not finding.ok] == []


def test_a_server_that_trusts_everybody_is_found(yard: Yard, admin_url: str, tmp_path: Path) -> None:
    with psycopg.connect(admin_url) as conn:
        rules = conn.execute("SELECT auth_method FROM pg_hba_file_rules").fetchall()
    trusting = CloneProvider(admin_url, installation=yard.installation, key=b"", scratch_dir=tmp_path)
    passwords = next(finding for finding in trusting.check() if finding.subject == "passwords")
    assert passwords.ok == (("trust",) not in rules)


def test_a_half_dropped_baseline_can_be_destroyed(yard: Yard, target: Target) -> None:
    baseline = yard.baseline(target("CREATE TABLE t ()"))
    with psycopg.connect(yard.host.superuser, autocommit=True) as admin:
        admin.execute(
            "UPDATE pg_database SET datconnlimit = -2, datistemplate = false WHERE datname = ANY (%s)",
            ([baseline, f"{baseline}_read"],),
        )
    yard.provider.destroy_baseline(baseline)
    assert yard.left() == set()


def test_the_shared_roles_go_with_the_last_baseline_and_not_before(yard: Yard, target: Target) -> None:
    source = target("CREATE TABLE t ()")
    one, two = yard.baseline(source), yard.baseline(source)
    yard.provider.destroy_baseline(one)
    yard.fork(two)
    yard.provider.destroy_baseline(two)
    assert any(name.endswith("_owner") for name in yard.left()), "the fork's objects need their owner"
    fork = next(found.name for found in yard.provider.list())
    yard.provider.destroy(fork)
    yard.provider.destroy_baseline(two)
    assert yard.left() == set()


def test_a_reading_copy_without_its_baseline_is_listed_and_removed(yard: Yard, target: Target) -> None:
    baseline = yard.baseline(target("CREATE TABLE t ()"))
    with psycopg.connect(yard.host.superuser, autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(baseline)))
        admin.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(baseline)))
    assert [(found.name, found.stamp) for found in yard.provider.list()] == [(baseline, None)]
    yard.provider.destroy_baseline(baseline)
    assert yard.left() == set()


def test_a_database_that_a_person_made_under_our_name_is_left_alone(yard: Yard, target: Target) -> None:
    fork = yard.name("fork")
    with psycopg.connect(yard.host.superuser, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(fork)))
        admin.execute(sql.SQL("COMMENT ON DATABASE {} IS 'keep'").format(sql.Identifier(fork)))
        with pytest.raises(ForeignResource):
            yard.provider.destroy(fork)
        assert fork in yard.left()
        admin.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(fork)))
