"""A worker that is killed around the commit of a migration: the next one finds out, and it is applied exactly once."""

from __future__ import annotations

import signal

import pytest

from orchestrator.maintenance import rescue
from orchestrator.runs import RunState, Step
from orchestrator.steps.identity import is_dead
from tests.shop import Shop

WORKER = """
import os, signal
from orchestrator.runs import Step
from orchestrator.steps.driver import perform
from orchestrator.steps.pipeline import STAGES
from orchestrator.store.ledger import Ledger

def die():
    os.kill(os.getpid(), signal.SIGKILL)

about_to_commit, record = Ledger.about_to_commit, Ledger.record

def before(self, *args, **values):
    about_to_commit(self, *args, **values)
    die()

def after(self, *args, **values):
    if values["applied"]:
        die()
    record(self, *args, **values)

if os.environ["MOMENT"] == "before the commit":
    Ledger.about_to_commit = before
else:
    Ledger.record = after
perform(context, STAGES[Step.APPLY_MIGRATIONS], os.environ["RUN"])
"""
MIGRATIONS = ["INSERT INTO log VALUES ('first of {run}');", "INSERT INTO log VALUES ('second of {run}',);"]
"""Nothing would notice if one of them were applied twice, but for the rows; the second needs a repair."""


@pytest.mark.parametrize("moment", ["before the commit", "between the commit and its record"])
def test_a_migration_whose_worker_was_killed_is_applied_exactly_once(shop: Shop, moment: str) -> None:
    name = moment.partition(" ")[0]
    script = "\n".join(shop.migration(sql.format(run=name), f"{n}.sql") for n, sql in enumerate(MIGRATIONS, start=1))
    [run_id] = shop.submit({name: script}, promote="all").run_ids
    shop.dispatcher.deliver(shop.context, until=Step.APPLY_MIGRATIONS)
    store = shop.context.store
    assert store.runs.get(run_id).steps_done == Step.RUN_AGENT.number

    killed = shop.worker(WORKER, RUN=run_id, MOMENT=moment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run = store.runs.get(run_id)
    assert is_dead(str(run.owner))
    first, _ = store.ledger.of_run(run_id)
    assert (first["applied"], first["transaction_id"] is not None) == (False, True)

    rescue.cleanup(shop.context, run_id)
    shop.dispatcher.deliver(shop.context)
    run = store.runs.get(run_id)
    assert run.state is RunState.MERGED, run.reason
    assert [row["applied"] for row in store.ledger.of_run(run_id)] == [True, True]
    lines = shop.query(f"SELECT line FROM log WHERE line LIKE '%of {name}' ORDER BY line")
    assert lines == [(f"first of {name}",), (f"second of {name}",)]
    assert run.agent_starts == 1
    outcomes = [row["outcome"] for row in store.runs.attempts(run_id) if row["step"] == "apply_migrations"]
    assert outcomes[-1] == "done"
    assert "lost" in outcomes
