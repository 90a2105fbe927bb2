"""Everything at once, at random: a seed that breaks something is worth a test of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from orchestrator.app.embedded import stack_of
from orchestrator.runs import RunState
from tests.chaos.arena import Arena, send
from tests.chaos.experiment import Batch
from tests.chaos.invariants import SECONDS_TO_CLEAN_LATE, check

WORKERS = ("worker-agents", "worker-steps", "worker-gc")
SECONDS_TO_START = 10
BLOWS = int(os.environ.get("FORKYARD_CHAOS_BLOWS", "6"))


class Mayhem:
    """One blow after the other, each picked at random."""

    def __init__(self, arena: Arena, batch: Batch) -> None:
        self._arena = arena
        self._batch = batch
        self._hung: list[int] = []
        self.told: list[str] = []

    def strike(self) -> None:
        blows: list[Callable[[], None]] = [
            *(self._kill_child, self._kill_child, self._kill_child, self._hang_child),
            *(
                self._kill_worker,
                self._forget_messages,
                self._repeat_messages,
                self._crash_valkey,
                self._crash_postgres,
            ),
        ]
        blow = self._arena.random.choice(blows)
        self.told.append(blow.__name__.strip("_"))
        blow()
        time.sleep(self._arena.random.uniform(0.1, 0.9))

    def end(self) -> None:
        for pid in self._hung:
            send(pid, signal.SIGCONT)
        self._arena.bring_back(self._batch)

    def _worker(self) -> str:
        return self._arena.random.choice(WORKERS)

    def _kill_child(self) -> None:
        worker = self._worker()
        status = stack_of(self._arena.installation.settings).status().service(worker)
        # A Celery worker that loses a pool process before it is up ends; starting it again is its supervisor's work.
        if (status.uptime_seconds or 0) > SECONDS_TO_START:
            self._arena.kill_children(worker, times=1, pause=(0, 0.1))

    def _hang_child(self) -> None:
        if children := self._arena.installation.children(self._worker()):
            self._hung.append(self._arena.random.choice(children))
            send(self._hung[-1], signal.SIGSTOP)

    def _kill_worker(self) -> None:
        self._arena.kill_group(self._worker())
        self._arena.bring_back(self._batch)

    def _forget_messages(self) -> None:
        with self._arena.broker() as client:
            client.flushall()

    def _repeat_messages(self) -> None:
        self._arena.ask("repeat", self._batch.handle)

    def _crash_valkey(self) -> None:
        self._arena.kill("valkey")
        self._arena.bring_back(self._batch)

    def _crash_postgres(self) -> None:
        """All sessions end, and the server recovers, as after any crash of one of its processes."""
        pids = self._arena.admin("SELECT pid FROM pg_stat_activity WHERE application_name = 'forkyard-registry'")
        if pids:
            send(pids[0][0], signal.SIGKILL)


def test_whatever_happens_in_whatever_order_every_run_ends_and_merges_at_most_once(arena: Arena) -> None:
    promote = arena.random.choice(("all", "best"))
    batch = arena.submit("mayhem", nap=0.4, promote=promote, repeats=3)
    mayhem = Mayhem(arena, batch)
    arena.in_step(batch, RunState.PROVISIONING)
    try:
        for _ in range(BLOWS):
            mayhem.strike()
    finally:
        mayhem.end()
        print("blows:", ", ".join(mayhem.told))
    ends = check(arena, batch, within=90, clean_within=SECONDS_TO_CLEAN_LATE)
    print("ends:", dict(ends))
    assert sum(ends.values()) == 6
