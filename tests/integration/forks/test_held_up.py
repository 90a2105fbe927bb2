"""No agent can keep the fork host from removing other agents' forks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest

from orchestrator.errors import ProviderUnavailable
from orchestrator.forks import databases
from orchestrator.forks.base import Login
from tests.integration.forks.conftest import Yard

COPYING = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND state = 'active' AND wait_event = 'ClientRead'"


def _begin_copy(session: psycopg.Connection, superuser: psycopg.Connection, database: str) -> None:
    """Leave the session in the middle of a COPY for which no data come."""
    session.pgconn.send_query(b"COPY t FROM STDIN")
    while not superuser.execute(COPYING, (database,)).fetchone():
        continue


def test_an_agent_in_an_endless_copy_loses_its_session_when_another_fork_has_to_go(
    yard: Yard, target: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "DROP_SECONDS", 1)
    baseline = yard.baseline(target("CREATE TABLE t (n integer)"))
    idle, gone = yard.fork(baseline), yard.fork(baseline)
    with (
        psycopg.connect(yard.host.superuser, autocommit=True) as superuser,
        closing(psycopg.connect(yard.provider.conninfo(idle, Login.AGENT), autocommit=True)) as agent,
    ):
        _begin_copy(agent, superuser, idle)
        yard.provider.destroy(gone)
        assert yard.provider.present(gone) == frozenset()
        assert not superuser.execute(COPYING, (idle,)).fetchone()
        # The rest of its fork is as it was.
        assert yard.provider.present(idle) == frozenset(yard.provider.resources(idle))


def test_a_stranger_s_session_is_left_alone_and_the_fork_goes_later(
    yard: Yard, target: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "DROP_SECONDS", 1)
    elsewhere = target("CREATE TABLE t (n integer)")
    fork = yard.fork(yard.baseline(elsewhere))
    database = psycopg.conninfo.conninfo_to_dict(elsewhere)["dbname"]
    with (
        psycopg.connect(yard.host.superuser, autocommit=True) as superuser,
        closing(psycopg.connect(elsewhere, autocommit=True)) as stranger,
    ):
        _begin_copy(stranger, superuser, str(database))
        with pytest.raises(ProviderUnavailable, match="cannot be removed yet"):
            yard.provider.destroy(fork)
        assert superuser.execute(COPYING, (database,)).fetchone()
    yard.provider.destroy(fork)
    assert yard.provider.present(fork) == frozenset()
