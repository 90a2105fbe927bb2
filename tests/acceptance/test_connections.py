"""How many server connections the whole system holds while agents work."""

from __future__ import annotations

import time
from collections import Counter

import psycopg

from orchestrator.runs import RunState
from tests.acceptance.site import Site, python

MOST = 30
PER_AGENT = 2
GREEDY = """
import os, time, psycopg
held = []
try:
    while len(held) < 20:
        held.append(psycopg.connect(os.environ["DATABASE_URL"], autocommit=True))
except psycopg.OperationalError as exc:
    print(len(held), "then:", exc)
held[0].execute("UPDATE customers SET name = upper(name)")
with open(os.path.join(os.environ["FORKYARD_MIGRATIONS_DIR"], "1.sql"), "w") as file:
    file.write("ALTER TABLE customers ADD COLUMN seen boolean;")
time.sleep(1.5)
"""
COUNT = """
SELECT datname, usename, application_name, count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY 1, 2, 3
"""
FINISHED = "SELECT finished_at IS NOT NULL FROM forkyard_registry.experiments WHERE handle = %s"


def test_four_greedy_agents_hold_two_connections_each_and_the_whole_system_thirty_at_most(site: Site) -> None:
    site.project("greedy")
    greedy = {"greedy": python(GREEDY)}
    path = site.experiment("greedy", greedy, project="greedy", promote="best", repeats=6, best_by=["duration_seconds"])
    handle = site.submit(path)
    # This process's own connections to the registry are none of the system's.
    site.installation.context.store.close()
    total, most, by_fork = _watch(site, handle)
    print(f"at most {total} connections at once: {dict(most)}")
    assert {run.state for run in site.runs(handle).values()} == {RunState.MERGED, RunState.DISCARDED}
    forks = {line["name"] for line in site.receipt([f"greedy/greedy#{n}" for n in range(1, 7)])}
    assert {fork: count for fork, count in by_fork.items() if fork in forks and count > PER_AGENT} == {}
    assert "2 then:" in site.forkyard("logs", "greedy/greedy#1").out
    assert total <= MOST, most


def _watch(site: Site, handle: str) -> tuple[int, Counter[str], Counter[str]]:
    """Until the experiment is finished: most connections at once, who held those, and the most of each login."""
    most: Counter[str] = Counter()
    by_login: Counter[str] = Counter()
    with psycopg.connect(site.installation.admin_url, dbname="forkyard", autocommit=True) as admin:
        while not admin.execute(FINISHED, (handle,)).fetchone()[0]:
            now: Counter[str] = Counter()
            logins: Counter[str] = Counter()
            for database, login, application, count in admin.execute(COUNT):
                kind = "a fork" if login == database else database
                now[f"{application or 'unnamed'} in {kind}"] += count
                logins[login] += count
            most = max(most, now, key=Counter.total)
            by_login |= logins
            time.sleep(0.02)
    return most.total(), most, by_login
