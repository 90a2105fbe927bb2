"""What must hold after any chaos, whatever died: see `check`."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from orchestrator.runs import TERMINAL, RunState
from orchestrator.store import Run
from tests.chaos.arena import Arena
from tests.chaos.experiment import COUNTS, RUNS, Batch

SECONDS_TO_END = 45
SECONDS_TO_CLEAN = 6
SECONDS_TO_CLEAN_LATE = 15
"""Where the server itself was away, so that a release could not be recorded: sweeps take it up ten seconds later."""

FORKS = r"^fy_[0-9a-f]{8}_f[0-9]+$"


def check(
    arena: Arena, batch: Batch, *, within: float = SECONDS_TO_END, clean_within: float = SECONDS_TO_CLEAN
) -> Counter[str]:
    """All invariants, at the end of a batch; how many runs ended in each state (held ones are discarded first).

    - Every run is over, and the experiment finished, within a bounded time.
    - A run is reported as merged exactly where its marker says so, and exactly then its changes are in the target,
      once.
    - Every run ended once; nothing is claimed, parked or half recorded; one run at most was the best.
    - After one sweep nothing is left: no fork, role or folder, no process, no session, no lock, no open receipt.
    """
    finished(arena, batch, within=within)
    _merged_once(arena, batch)
    for run in arena.runs(batch):
        if run.state is RunState.HELD:
            arena.ask("discard", run.id)
    runs = finished(arena, batch)
    _merged_once(arena, batch)
    _told_once(arena, batch, runs)
    _nothing_left(arena, batch, clean_within)
    return Counter(run.state.value for run in runs)


def finished(arena: Arena, batch: Batch, *, within: float = SECONDS_TO_END) -> list[Run]:
    """The runs once all are over (or held) and the experiment is finished."""

    def over() -> bool:
        done = all(run.state in TERMINAL or run.state is RunState.HELD for run in arena.runs(batch))
        return done and arena.row(batch).finished_at is not None

    arena.wait(over, within, f"{batch.handle} to finish", batch)
    return arena.runs(batch)


def markers(batch: Batch) -> dict[str, str]:
    """What the target says of each run: merged or closed. The table's key admits one row a run."""
    with psycopg.connect(batch.target) as target:
        return dict(target.execute("SELECT run_id, outcome FROM forkyard.merges").fetchall())


def agents_of(batch: Batch, folder: Path) -> list[str]:
    """Living processes that were started for runs of that experiment, in the installation in that folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            known = (entry / "environ").read_bytes()
            if f"FORKYARD_RUN_ID={batch.handle}/".encode() in known and f"{folder}/".encode() in known:
                found.append(f"{entry.name}: {(entry / 'cmdline').read_bytes().decode(errors='replace')}")
    return found


def _merged_once(arena: Arena, batch: Batch) -> None:
    merged = {run.id for run in arena.runs(batch) if run.state is RunState.MERGED}
    marked = {run_id for run_id, outcome in markers(batch).items() if outcome == "merged"}
    with psycopg.connect(batch.target) as target:
        counts = {row[0]: tuple(row[1:]) for row in target.execute(COUNTS)}
    expected = {name: (1, 1, 1, 1) if f"{batch.handle}/{name}" in marked else (0, 0, 0, 0) for name in RUNS}
    if merged != marked or counts != expected:
        wrong = {name: counts[name] for name in RUNS if counts[name] != expected[name]}
        arena.fail(f"merged {sorted(merged)}, marked {sorted(marked)}, counted wrongly {wrong}", batch)


def _told_once(arena: Arena, batch: Batch, runs: list[Run]) -> None:
    experiment = arena.row(batch)
    ends = arena.registry(
        "SELECT e.run_id, count(*) FROM events e JOIN runs r ON r.id = e.run_id"
        " WHERE r.experiment_id = %s AND e.kind IN ('merged', 'discarded', 'failed', 'cancelled') GROUP BY 1",
        experiment.id,
    )
    unfinished = arena.registry(
        "SELECT a.run_id, a.step FROM step_attempts a JOIN runs r ON r.id = a.run_id"
        " WHERE r.experiment_id = %s AND a.finished_at IS NULL",
        experiment.id,
    )
    busy = [run.id for run in runs if run.slot_held or run.owner or run.parked_at or run.process_group]
    if dict(ends) != {run.id: 1 for run in runs} or unfinished or busy:
        arena.fail(f"ends {dict(ends)}, unfinished attempts {unfinished}, busy {busy}", batch)
    if batch.promote == "best":
        assert [run.id for run in runs if run.state is RunState.MERGED] in ([], [experiment.best_run])
    assert experiment.summary


def _nothing_left(arena: Arena, batch: Batch, within: float) -> None:
    arena.ask("sweep")
    left: dict[str, Any] = {}
    deadline = time.monotonic() + within
    while left := {what: found for what, found in _left(arena, batch).items() if found}:
        if time.monotonic() > deadline:
            arena.fail(f"left behind: {left}", batch)
        time.sleep(0.2)


def _left(arena: Arena, batch: Batch) -> dict[str, Any]:
    others = {
        name
        for (name,) in arena.registry(
            "SELECT e.name FROM environments e JOIN runs r ON r.id = e.run_id"
            " JOIN experiments x ON x.id = r.experiment_id WHERE x.handle <> %s",
            batch.handle,
        )
    }
    found = arena.installation.leftovers()
    sessions = arena.admin("SELECT datname, usename, state FROM pg_stat_activity WHERE datname ~ %s", FORKS)
    return {
        **{kind: [name for name in names if name not in others] for kind, names in found.items()},
        "processes": agents_of(batch, arena.installation.folder),
        "sessions": [session for session in sessions if session[0] not in others],
        # Sweeps hold one for a moment.
        "locks": arena.admin(
            "SELECT a.application_name, a.query FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE l.locktype = 'advisory' AND a.xact_start < now() - interval '3 seconds'"
        ),
        "receipts": arena.registry(
            "SELECT e.name, e.state, r.kind FROM environments e LEFT JOIN resources r ON r.environment_id = e.id"
            " JOIN runs u ON u.id = e.run_id JOIN experiments x ON x.id = u.experiment_id"
            " WHERE x.handle = %s AND (e.state <> 'released' OR r.gone_at IS NULL)",
            batch.handle,
        ),
    }
