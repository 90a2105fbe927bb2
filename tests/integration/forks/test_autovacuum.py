"""A fork that autovacuum is at can be destroyed by a login that is no superuser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from orchestrator.forks.base import Login
from tests.integration.forks.conftest import Yard

EAGER = {"autovacuum_naptime": "1s", "autovacuum_vacuum_cost_delay": "100ms", "autovacuum_vacuum_cost_limit": "1"}
"""Autovacuum comes at once, and takes its time."""

AT_WORK = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND backend_type = 'autovacuum worker'"


@pytest.fixture
def eager(yard: Yard) -> Iterator[psycopg.Connection]:
    """The superuser's session, on a server with an eager autovacuum."""
    with psycopg.connect(yard.host.superuser, autocommit=True) as superuser:
        for name, value in EAGER.items():
            superuser.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        superuser.execute("SELECT pg_reload_conf()")
        yield superuser
        for name in EAGER:
            superuser.execute(sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(name)))
        superuser.execute("SELECT pg_reload_conf()")


def test_a_fork_is_destroyed_while_autovacuum_and_its_agent_are_in_it(
    yard: Yard, target: Callable[..., str], eager: psycopg.Connection
) -> None:
    fork = yard.fork(yard.baseline(target("CREATE TABLE rows AS SELECT n FROM generate_series(1, 30000) n")))
    with psycopg.connect(yard.provider.conninfo(fork, Login.AGENT), autocommit=True) as agent:
        agent.execute("DELETE FROM rows WHERE n % 2 = 0")
        agent.execute("SELECT pg_stat_force_next_flush()")
        agent.execute("SELECT 1")
        deadline = time.monotonic() + 30
        while not eager.execute(AT_WORK, (fork,)).fetchone():
            assert time.monotonic() < deadline, "autovacuum did not come"
            time.sleep(0.05)
        yard.provider.destroy(fork)
    assert yard.provider.present(fork) == frozenset()
