"""Messages come twice, in any order; people change their minds."""

from __future__ import annotations

from orchestrator.runs import RunState
from tests.chaos.arena import Arena
from tests.chaos.invariants import check


def test_every_message_sent_again_changes_nothing(arena: Arena) -> None:
    batch = arena.submit("twice")
    arena.ask("repeat", batch.handle)
    arena.in_step(batch, RunState.RUNNING, count=2)
    arena.ask("repeat", batch.handle)
    assert check(arena, batch) == {"merged": 8}
    assert {run.agent_starts for run in arena.runs(batch)} == {1}
    # Afterwards as well: a message may lie in a queue for hours.
    before = arena.registry("SELECT max(id) FROM events WHERE run_id LIKE 'twice/%%'")
    arena.ask("repeat", batch.handle)
    arena.idle()
    assert arena.registry("SELECT max(id) FROM events WHERE run_id LIKE 'twice/%%'") == before
    assert check(arena, batch) == {"merged": 8}


def test_a_cancelled_experiment_ends_soon_and_keeps_what_was_merged(arena: Arena) -> None:
    batch = arena.submit("cancelled", nap=2)
    arena.wait(lambda: any(run.state is RunState.MERGED for run in arena.runs(batch)), 30, "a first merge", batch)
    arena.ask("cancel", batch.handle)
    ends = check(arena, batch, within=20)
    assert ends["merged"] >= 1
    assert ends["cancelled"] >= 3
    assert sum(ends.values()) == 8
