"""Two sessions in one another's way in the registry: what a statement decides, it decides on what is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from orchestrator.errors import ForkyardError, NotFound
from orchestrator.runs import Ending


@contextmanager
def open_transaction(world: Any) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(world.registry, options="-c search_path=forkyard_registry") as connection:
        yield connection


def while_open(world: Any, connection: psycopg.Connection[Any], act: Callable[[], Any]) -> Any:
    """What `act` gives or raises, when it was begun before `connection` committed."""
    answers: list[Any] = []

    def run() -> None:
        try:
            answers.append(act())
        except ForkyardError as exc:
            answers.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    with psycopg.connect(world.registry, autocommit=True) as watcher:
        deadline = time.monotonic() + 10
        while thread.is_alive() and time.monotonic() < deadline:
            waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            if watcher.execute(waits).fetchone() is not None:
                break
            time.sleep(0.01)
    connection.commit()
    thread.join(20)
    assert len(answers) == 1
    return answers[0]


def test_baselines_that_are_begun_at_once_get_different_numbers(world: Any) -> None:
    with open_transaction(world) as first:
        first.execute("SELECT FROM projects WHERE id = %s FOR NO KEY UPDATE", [world.project.id])
        first.execute("INSERT INTO baselines (project_id, number, name) VALUES (%s, 2, 'b2')", [world.project.id])
        made = while_open(
            world, first, lambda: world.store.projects.intend_baseline(world.project.id, label=None, prefix="b")
        )
    assert made.number == 3


def test_a_baseline_is_not_removed_under_an_experiment_that_is_being_recorded(world: Any) -> None:
    baseline = world.store.projects.find_baseline(world.project, "latest")
    with open_transaction(world) as first:
        first.execute(
            "INSERT INTO experiments (handle, name, project_id, baseline_id, spec, promote, parallel)"
            " VALUES ('clean', 'clean', %s, %s, '{}', 'none', 1)",
            [world.project.id, baseline.id],
        )
        taken = while_open(
            world, first, lambda: world.store.projects.take_baseline_for_release(baseline.id, reason="old")
        )
    assert taken is None
    assert world.store.projects.baseline(baseline.id).state == "sealed"


def test_no_experiment_is_recorded_on_a_baseline_that_is_being_removed(world: Any) -> None:
    baseline = world.store.projects.find_baseline(world.project, "latest")
    with open_transaction(world) as first:
        first.execute("SELECT FROM baselines WHERE id = %s FOR UPDATE", [baseline.id])
        first.execute("UPDATE baselines SET state = 'releasing' WHERE id = %s", [baseline.id])
        answer = while_open(world, first, world.batch)
    assert isinstance(answer, NotFound)
    assert world.store.experiments.recent(limit=5) == []


def test_slots_hold_when_many_runs_end_and_come_at_once(world: Any) -> None:
    world.change("UPDATE projects SET max_parallel = 2")
    ids = world.batch(runs=6)
    got = [world.store.runs.acquire(run_id, owner="w:1:1", continuation="{}", dispatch_seconds=30) for run_id in ids]
    assert got == [True, True, False, False, False, False]
    threads = [
        threading.Thread(target=world.store.runs.finish, args=(run_id, Ending.cancelled())) for run_id in ids[:2]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    held = [run_id for run_id in ids if world.store.runs.get(run_id).slot_held]
    assert held == ids[2:4]
