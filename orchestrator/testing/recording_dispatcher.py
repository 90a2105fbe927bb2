"""A task queue in memory: it records what is sent, and delivers it here and now, as workers would.

dispatcher = RecordingDispatcher()
context = Context(..., dispatcher=dispatcher)           # or `dispatcher = "orchestrator.testing.…"` in the settings
submit(context, path)
dispatcher.sent                                         # [Sent(kind="start", run_ids=("clean/careful#1", …), …)]
dispatcher.deliver(context)                             # the whole pipeline, in this process
dispatcher.deliver(context, copies=2)                   # the same, with every message delivered twice
dispatcher.away = True                                  # the broker does not answer
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.errors import ForkyardError, QueueUnavailable
from orchestrator.forks.base import Finding
from orchestrator.maintenance import rescue
from orchestrator.runs import Step
from orchestrator.settings import Settings
from orchestrator.steps.acquire import acquire
from orchestrator.steps.context import Context
from orchestrator.steps.driver import Outcome, perform
from orchestrator.steps.pipeline import STAGES
from orchestrator.steps.summarise import summarise

RETRIES = 6
"""So often is a step tried again before its error callback is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One call of the dispatcher, as it was made."""

    kind: Literal["start", "resume", "summarise"]
    experiment_id: int | None = None
    run_ids: tuple[str, ...] = ()
    continuation: str | None = None
    steps_done: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    """One task on its way: a step of a run (`number` counts from 0), or the summary of an experiment."""

    run_id: str = ""
    number: int = 0
    experiment_id: int = 0
    counted: bool = False
    """The batch's summary waits for the end of this message's chain."""
    retries: int = 0

    @property
    def continuation(self) -> str:
        return json.dumps({"run": self.run_id, "step": self.number, "counted": self.counted})


class RecordingDispatcher:
    """Keeps a Dispatcher's promises with a queue of its own. Nothing is acted on before `deliver`."""

    def __init__(self, settings: Settings | None = None) -> None:
        del settings
        self.sent: list[Sent] = []
        self.away = False
        """Whether the broker answers: while it does not, sending raises QueueUnavailable."""
        self.callbacks: list[tuple[str, ForkyardError]] = []
        """Runs whose step failed for good outside of the registry, with the error: cleanup was called."""
        self._queue: deque[_Message] = deque()
        self._unfinished: dict[int, set[str]] = {}

    def start(self, experiment_id: int, run_ids: Sequence[str]) -> None:
        self._send(Sent(kind="start", experiment_id=experiment_id, run_ids=tuple(run_ids)))
        self._unfinished[experiment_id] = set(run_ids)
        self._queue.extend(_Message(run_id=run_id, counted=True) for run_id in run_ids)

    def resume(self, run_id: str, continuation: str | None, *, steps_done: int) -> None:
        self._send(Sent(kind="resume", run_ids=(run_id,), continuation=continuation, steps_done=steps_done))
        stored = json.loads(continuation) if continuation else {}
        number = min(max(stored.get("step", 0), steps_done), len(Step) - 1)
        self._queue.append(_Message(run_id=run_id, number=number, counted=stored.get("counted", False)))

    def summarise(self, experiment_id: int) -> None:
        self._send(Sent(kind="summarise", experiment_id=experiment_id))
        self._queue.append(_Message(experiment_id=experiment_id))

    def check(self) -> Iterable[Finding]:
        return (Finding(subject="queue", ok=not self.away, detail="in memory"),)

    def resumed(self) -> list[str]:
        """The runs that were sent on, in order."""
        return [run_id for sent in self.sent if sent.kind == "resume" for run_id in sent.run_ids]

    def lose(self) -> None:
        """Lose all that is under way, as a broker without persistence does when it restarts."""
        self._queue.clear()

    def forget(self) -> None:
        """Begin anew: nothing is under way, nothing was sent."""
        self.lose()
        self.sent.clear()
        self.callbacks.clear()
        self.away = False

    def deliver(self, context: Context, *, copies: int = 1, until: Step | None = None, limit: int = 10_000) -> int:
        """Do all that was sent, and what follows from it, in the order of sending; how many tasks that were.

        Steps of several runs take turns, as they do on one worker. `copies`: how often each message arrives.
        `until`: stop before the first task of that step, which is lost with all that is under way.
        Raises AssertionError after `limit` tasks: then something sends itself for ever.
        """
        done = 0
        while self._queue:
            message = self._queue.popleft()
            if until is not None and message.run_id and list(Step)[message.number] is until:
                self.lose()
                break
            for copy in range(copies):
                # What follows from a message is sent once: a chain's next step by its first copy.
                self._act(context, message, goes_on=copy == 0)
                done += 1
            assert done <= limit, "the queue does not run empty"
        return done

    def _send(self, sent: Sent) -> None:
        if self.away:
            raise QueueUnavailable("The broker does not answer.")
        self.sent.append(sent)

    def _act(self, context: Context, message: _Message, *, goes_on: bool) -> None:
        if not message.run_id:
            summarise(context, message.experiment_id)
            return
        try:
            outcome = _perform(context, message)
        except ForkyardError as exc:
            self._failed(context, message, exc)
            return
        if goes_on and outcome is Outcome.DONE:
            self._go_on(context, message)

    def _failed(self, context: Context, message: _Message, exc: ForkyardError) -> None:
        if exc.retryable and message.retries < RETRIES:
            self._queue.append(replace(message, retries=message.retries + 1))
            return
        self.callbacks.append((message.run_id, exc))
        rescue.cleanup(context, message.run_id)

    def _go_on(self, context: Context, message: _Message) -> None:
        if message.number + 1 < len(Step):
            self._queue.append(replace(message, number=message.number + 1, retries=0))
            return
        experiment_id = context.store.runs.get(message.run_id).experiment_id
        waiting = self._unfinished.get(experiment_id, set())
        if message.counted and message.run_id in waiting:
            waiting.discard(message.run_id)
            if not waiting:
                self._queue.append(_Message(experiment_id=experiment_id))


def _perform(context: Context, message: _Message) -> Outcome:
    step = list(Step)[message.number]
    if step is Step.ACQUIRE:
        return acquire(context, message.run_id, message.continuation)
    return perform(context, STAGES[step], message.run_id)
