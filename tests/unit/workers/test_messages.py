"""What is published: a chain per run with cleanup behind every step, a chord per batch, ids and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from orchestrator.runs import Step
from tests.unit.workers.conftest import Message
from workers.app import app
from workers.canvas import batch, run_chain
from workers.config import QUEUES
from workers.dispatch import CeleryDispatcher
from workers.signals import _clean_up_after_revoke
from workers.tasks import STEP_TASKS

Published = Callable[[], list[Message]]

RUNS = ["clean/careful#1", "clean/careful#2", "clean/quick#1"]


@pytest.fixture
def dispatcher(published: Published, monkeypatch: pytest.MonkeyPatch) -> CeleryDispatcher:
    monkeypatch.setattr("workers.dispatch.configure", lambda _: None)
    return CeleryDispatcher(settings=None)  # type: ignore[arg-type]


def test_the_steps_of_the_registry_are_the_tasks_of_the_chain() -> None:
    assert [task.name for task in STEP_TASKS] == [f"forkyard.{step.value}" for step in Step]


def test_a_chain_begins_with_acquire_and_carries_the_rest(published: Published) -> None:
    run_chain(RUNS[0]).apply_async()
    [message] = published()
    assert [message.task, *(step["task"] for step in message.chain)] == [task.name for task in STEP_TASKS]
    assert message.queue == "steps"


def test_every_step_carries_the_run_s_id_alone_and_takes_no_result_of_the_step_before(published: Published) -> None:
    run_chain(RUNS[0]).apply_async()
    [message] = published()
    assert message.args == [RUNS[0]]
    for step in message.chain:
        assert (list(step["args"]), dict(step["kwargs"]), step["immutable"]) == ([RUNS[0]], {}, True)


@pytest.mark.parametrize("done", range(len(STEP_TASKS) + 1))
def test_every_step_that_is_left_has_cleanup_behind_it_on_the_queue_gc(published: Published, done: int) -> None:
    run_chain(RUNS[0], steps_done=done).apply_async()
    [message] = published()
    for callbacks in (message.errbacks, *(step["options"]["link_error"] for step in message.chain)):
        [cleanup] = callbacks
        assert (cleanup["task"], cleanup["options"]["queue"]) == ("forkyard.cleanup", "gc")
        assert (list(cleanup["args"]), cleanup["immutable"]) == ([RUNS[0]], True)


def test_a_batch_is_a_chain_per_run_whose_last_steps_end_in_one_summary(published: Published) -> None:
    batch(7, RUNS).apply_async()
    messages = published()
    assert [message.args for message in messages] == [[run] for run in RUNS]
    assert {message.task for message in messages} == {"forkyard.acquire"}
    for message in messages:
        chords = [step["options"].get("chord") for step in message.chain]
        assert chords[:-1] == [None] * (len(chords) - 1)
        summary = chords[-1]
        assert (summary["task"], list(summary["args"]), summary["immutable"]) == ("forkyard.summarise", [7], True)
        assert summary["options"]["queue"] == "gc"
        [on_error] = summary["options"]["link_error"]
        assert (on_error["task"], list(on_error["args"])) == ("forkyard.summarise", [7])
        assert on_error["options"]["queue"] == "gc"
        assert all(step["options"]["link_error"] for step in message.chain)
        assert message.errbacks


def test_a_batch_of_one_run_has_its_summary_too(published: Published) -> None:
    batch(7, RUNS[:1]).apply_async()
    [message] = published()
    assert "forkyard.summarise" in json.dumps(message.chain, default=str)


def test_error_callbacks_are_sent_as_messages_and_not_run_in_the_worker_s_main_process() -> None:
    # Celery calls an error callback directly where its task takes three arguments or is not bound.
    for name in ("forkyard.cleanup", "forkyard.summarise"):
        assert app.tasks[name].__bound__ is True


def test_every_task_has_its_queue() -> None:
    ours = {name for name in app.tasks if name.startswith("forkyard.")}
    assert ours == set(QUEUES)
    assert set(QUEUES.values()) == {"agents", "steps", "gc"}
    assert {name for name, queue in QUEUES.items() if queue == "agents"} == {"forkyard.run_agent"}
    assert {"forkyard.cleanup", "forkyard.summarise", "forkyard.sweep"} == {n for n, q in QUEUES.items() if q == "gc"}


def test_every_task_has_a_limit_and_only_agents_may_take_a_day() -> None:
    limits = {name: app.tasks[name].time_limit for name in QUEUES}
    assert limits.pop("forkyard.run_agent") == 24 * 3600
    assert set(limits.values()) == {3600}


def test_the_dispatcher_sends_a_batch_a_run_and_a_summary(published: Published, dispatcher: CeleryDispatcher) -> None:
    dispatcher.start(7, RUNS)
    dispatcher.resume(RUNS[0], None, steps_done=5)
    dispatcher.summarise(7)
    sent = [(message.task, message.queue, message.args) for message in published()]
    assert sent[len(RUNS) :] == [("forkyard.settle", "steps", [RUNS[0]]), ("forkyard.summarise", "gc", [7])]


def test_what_can_be_read_in_flower_holds_ids_only(published: Published, dispatcher: CeleryDispatcher) -> None:
    dispatcher.start(7, RUNS[:2])
    for message in published():
        assert message.headers["argsrepr"] == repr((message.args[0],))
        assert message.headers["kwargsrepr"] == "{}"


@pytest.mark.parametrize(
    ("task", "args", "cleaned"),
    [
        ("forkyard.run_agent", [RUNS[0]], [[RUNS[0]]]),
        ("forkyard.sweep", ["expire"], []),
        ("forkyard.summarise", [7], []),
        ("somebody.elses", [RUNS[0]], []),
        ("forkyard.settle", [], []),
    ],
)
def test_a_revoked_step_sends_its_run_to_cleanup(
    published: Published, task: str, args: list[object], cleaned: list[list[object]]
) -> None:
    class Request:
        pass

    request = Request()
    request.task, request.args = task, args  # type: ignore[attr-defined]
    _clean_up_after_revoke(request=request)
    sent = published()
    assert [message.args for message in sent] == cleaned
    assert {(message.task, message.queue) for message in sent} <= {("forkyard.cleanup", "gc")}
