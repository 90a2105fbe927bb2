"""A merge happens exactly once or not at all, wherever its worker dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from orchestrator.runs import RunState
from orchestrator.store import Run
from tests.chaos.arena import Arena, owner_pid
from tests.chaos.experiment import Batch
from tests.chaos.invariants import check, finished, markers


@contextmanager
def _locked(arena: Arena, table: str, mode: str) -> Iterator[None]:
    """A registry table that workers cannot get at; free again at the end of the body."""
    with psycopg.connect(arena.installation.settings.registry.conninfo()) as connection:
        connection.execute(f"LOCK TABLE forkyard_registry.{table} IN {mode} MODE")
        yield


@contextmanager
def _about_to_merge(arena: Arena, name: str) -> Iterator[tuple[Batch, Run]]:
    """An experiment of one run, whose worker is kept from reading the changeset, which is the last that it does before
    the merge, until the end of the body."""
    slow = {"slow": "SELECT 1 FROM pg_sleep(1)"}  # between the changeset's end and the next step's beginning
    batch = arena.submit(name, nap=0.3, repeats=1, only="one", metrics=slow)
    arena.wait(lambda: arena.runs(batch)[0].changeset_hash, 30, "the changeset", batch)
    with _locked(arena, "artifact_chunks", "ACCESS EXCLUSIVE"):
        (run,) = arena.in_step(batch, RunState.SETTLING)
        yield batch, run


@contextmanager
def _dies_after_its_commit(arena: Arena, name: str) -> Iterator[tuple[Batch, Run]]:
    """The same, with its worker killed when the target had the marker and the registry knew nothing yet: it cannot know
    before the end of the body either, because a run's last transition locks its project."""
    with ExitStack() as stack:
        with _about_to_merge(arena, name) as (batch, run):
            stack.enter_context(_locked(arena, "projects", "EXCLUSIVE"))
        arena.wait(lambda: markers(batch), 30, "the merge to be committed", batch)
        os.kill(owner_pid(run), signal.SIGKILL)
        yield batch, run


def test_a_merge_whose_worker_dies_before_it_is_recorded_is_found_and_recorded(arena: Arena) -> None:
    with _dies_after_its_commit(arena, "dies-after-commit") as (batch, run):

        def taken_over() -> bool:
            found = arena.runs(batch)[0]
            return found.epoch > run.epoch + 1 and found.owner is not None

        arena.wait(taken_over, 20, "another worker to settle the run", batch)
        assert arena.runs(batch)[0].state is RunState.SETTLING
    assert check(arena, batch) == {"merged": 1}
    assert arena.runs(batch)[0].reason == "the experiment promotes all; its merge had been committed"


def test_a_run_cancelled_after_its_merge_was_committed_is_reported_as_merged(arena: Arena) -> None:
    with _dies_after_its_commit(arena, "cancelled-too-late") as (batch, _):
        arena.ask("cancel", batch.handle)
    assert check(arena, batch) == {"merged": 1}


def test_a_run_that_rescue_gave_up_cannot_be_merged_by_a_worker_that_wakes_late(arena: Arena) -> None:
    with _about_to_merge(arena, "wakes-late") as (batch, run):
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
    kept = "SELECT 1 FROM environments WHERE run_id = %s AND state <> 'released'"
    arena.wait(lambda: not arena.registry(kept, run.id), 15, "its fork to go", batch)
