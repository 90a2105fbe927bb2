"""Servers die: Valkey with all its messages, Postgres with registry, fork host and target at once."""

from __future__ import annotations

import os
import signal
import time

import psycopg

from orchestrator.runs import RunState
from tests.chaos.arena import Arena
from tests.chaos.invariants import SECONDS_TO_CLEAN_LATE, check


def test_valkey_is_killed_and_comes_back(arena: Arena) -> None:
    batch = arena.submit("valkey-dies")
    arena.in_step(batch, RunState.RUNNING, count=2)
    arena.kill("valkey")
    time.sleep(1.5)
    arena.bring_back(batch)
    assert check(arena, batch) == {"merged": 8}


def test_valkey_forgets_everything(arena: Arena) -> None:
    batch = arena.submit("valkey-flushed", promote="best", nap=0.3, repeats=3)
    client = arena.broker()
    arena.in_step(batch, RunState.RUNNING, count=2)
    for _ in range(3):
        client.flushall()
        time.sleep(0.8)
    client.close()
    assert check(arena, batch) == {"merged": 1, "discarded": 5}


def test_postgres_is_killed_and_comes_back(arena: Arena) -> None:
    batch = arena.submit("postgres-dies")
    arena.in_step(batch, RunState.CAPTURING)
    arena.kill("postgres")
    time.sleep(1)
    arena.bring_back(batch)
    ends = check(arena, batch, within=60, clean_within=SECONDS_TO_CLEAN_LATE)
    assert set(ends) <= {"merged", "failed", "discarded"}
    assert ends["merged"] >= 2


def test_postgres_restarts_itself_after_one_of_its_processes_crashed(arena: Arena) -> None:
    batch = arena.submit("postgres-crashes", promote="best", repeats=2)
    arena.in_step(batch, RunState.SETTLING)
    backends = arena.admin("SELECT pid FROM pg_stat_activity WHERE application_name = 'forkyard-registry'")
    os.kill(backends[0][0], signal.SIGKILL)
    ends = check(arena, batch, within=60, clean_within=SECONDS_TO_CLEAN_LATE)
    assert set(ends) <= {"merged", "failed", "discarded"}
    assert ends["merged"] == 1


def test_the_target_is_away_while_a_run_is_merged(arena: Arena) -> None:
    batch = arena.submit("target-away", nap=0.3, repeats=1)
    arena.in_step(batch, RunState.CAPTURING)
    with psycopg.connect(arena.installation.admin_url, autocommit=True) as admin:
        admin.execute('ALTER DATABASE "target-away" CONNECTION LIMIT 0')
        waited = "SELECT 1 FROM step_attempts WHERE step = 'settle' AND run_id LIKE 'target-away/%%'"
        arena.wait(lambda: len(arena.registry(waited)) >= 2, 20, "both runs to be settled", batch)
        time.sleep(1)
        admin.execute('ALTER DATABASE "target-away" CONNECTION LIMIT -1')
    assert check(arena, batch) == {"merged": 2}
