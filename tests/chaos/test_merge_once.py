"""A merge happens exactly once or not at all, wherever its worker dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from orchestrator.runs import RunState
from orchestrator.store import Run
from tests.chaos.arena import Arena, owner_pid
from tests.chaos.experiment import Batch
from tests.chaos.invariants import check, finished, markers


@contextmanager
def _locked(arena: Arena, table: str, mode: str) -> Iterator[psycopg.Connection]:
    """A registry table that workers cannot get at; free again at the end of the body."""
    with psycopg.connect(arena.installation.settings.registry.conninfo()) as connection:
        connection.execute(f"LOCK TABLE forkyard_registry.{table} IN {mode} MODE")
        yield connection


def _dies_after_its_commit(arena: Arena, batch: Batch) -> Run:
    """Kill the worker of the only run when the marker stands in the target, but not yet in the registry.

    The caller keeps the table `projects` locked, for which the registry's last transition has to wait.
    """
    arena.wait(lambda: markers(batch), 30, "the merge to be committed", batch)
    (run,) = arena.runs(batch)
    assert run.state is RunState.SETTLING
    os.kill(owner_pid(run), signal.SIGKILL)
    return run


def test_a_merge_whose_worker_dies_before_it_is_recorded_is_found_and_recorded(arena: Arena) -> None:
    batch = arena.submit("dies-after-commit", nap=0.3, repeats=1, only="one")
    arena.in_step(batch, RunState.RUNNING)
    with _locked(arena, "projects", "ROW EXCLUSIVE"):
        run = _dies_after_its_commit(arena, batch)
        taken_over = lambda: arena.runs(batch)[0].epoch > run.epoch + 1  # noqa: E731
        arena.wait(taken_over, 20, "another worker to settle the run", batch)
    assert check(arena, batch) == {"merged": 1}
    assert arena.runs(batch)[0].reason == "the experiment promotes all; its merge had been committed"


def test_a_run_cancelled_after_its_merge_was_committed_is_reported_as_merged(arena: Arena) -> None:
    batch = arena.submit("cancelled-too-late", nap=0.3, repeats=1, only="one")
    arena.in_step(batch, RunState.RUNNING)
    with _locked(arena, "projects", "ROW EXCLUSIVE"):
        _dies_after_its_commit(arena, batch)
        arena.ask("cancel", batch.handle)
    assert check(arena, batch) == {"merged": 1}


def test_a_run_that_rescue_gave_up_cannot_be_merged_by_a_worker_that_wakes_late(arena: Arena) -> None:
    batch = arena.submit("wakes-late", nap=0.3, repeats=1, only="one")
    arena.in_step(batch, RunState.CAPTURING)
    # Reading the changeset is the last that a worker does before the merge.
    with _locked(arena, "artifact_chunks", "ACCESS EXCLUSIVE"):
        (run,) = arena.in_step(batch, RunState.SETTLING)
        os.kill(owner_pid(run), signal.SIGSTOP)
    try:
        arena.registry("UPDATE runs SET step_tries = 99, lease_until = now() WHERE id = %s", run.id)
        arena.wait(lambda: arena.runs(batch)[0].finished, 15, "rescue to give the run up", batch)
        assert markers(batch) == {run.id: "closed"}
    finally:
        os.kill(owner_pid(run), signal.SIGCONT)
    arena.idle()
    assert check(arena, batch) == {"failed": 1}
    assert markers(batch) == {run.id: "closed"}


def test_a_worker_that_hangs_inside_of_its_merge_does_not_hold_up_the_sweeps(arena: Arena) -> None:
    batch = arena.submit("hangs-in-merge", nap=0.3, repeats=1, only="one")
    with psycopg.connect(batch.target) as target:
        target.execute("LOCK TABLE by_hand IN ACCESS EXCLUSIVE MODE")
        (run,) = arena.in_step(batch, RunState.SETTLING)
        merging = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'forkyard-merge' AND wait_event = 'relation'"
        arena.wait(lambda: arena.admin(merging), 20, "the merge to wait for its table", batch)
        os.kill(owner_pid(run), signal.SIGSTOP)
    try:
        arena.registry("UPDATE runs SET step_tries = 99, lease_until = now() WHERE id = %s", run.id)
        swept = "SELECT 1 FROM sweeps WHERE name = 'rescue' AND findings::text LIKE '%%hangs-in-merge%%'"
        arena.wait(lambda: arena.registry(swept), 30, "rescue to leave the run for later", batch)
    finally:
        os.kill(owner_pid(run), signal.SIGCONT)
    check(arena, batch)


def test_a_held_run_whose_merge_had_been_committed_cannot_be_discarded(arena: Arena) -> None:
    batch = arena.submit("held-but-merged", nap=0.3, repeats=1, only="one", promote="review")
    (run,) = finished(arena, batch)
    assert run.state is RunState.HELD
    with psycopg.connect(batch.target) as target:
        target.execute(
            "INSERT INTO forkyard.merges (installation, run_id, outcome, changeset_hash) VALUES (%s, %s, 'merged', %s)",
            (arena.installation.context.installation, run.id, run.changeset_hash),
        )
    arena.ask("discard", run.id)
    arena.wait(lambda: arena.runs(batch)[0].state is RunState.MERGED, 15, "the run to be known as merged", batch)
