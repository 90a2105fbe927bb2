"""A run's chain goes on from the registry exactly where it is: with its ids, its chord and its error callbacks."""

from __future__ import annotations

import pytest
from celery.exceptions import Ignore
from kombu.utils.json import dumps

from orchestrator.steps.driver import Outcome
from workers.canvas import rest_of, run_chain
from workers.task import settle_outcome
from workers.tasks import STEP_TASKS, cleanup, summarise

RUN = "clean/careful#2"
LAST = len(STEP_TASKS) - 1


def stored(first: int = 0) -> str:
    """The message of step `first`, as Celery lays it out within a chord: the rest of its chain reversed, below it."""
    steps = [task.si(RUN).set(task_id=f"id-{number}") for number, task in enumerate(STEP_TASKS)]
    for step in steps:
        step.link_error(cleanup.si(RUN).set(queue="gc"))
    steps[LAST].set(chord=summarise.si(7), group_id="batch")
    head = steps[first].set(chain=[dict(step) for step in reversed(steps[first + 1 :])], root_id="root")
    return str(dumps(head))


@pytest.mark.parametrize("done", range(LAST + 2))
def test_a_stored_message_is_moved_on_to_the_first_step_that_is_not_done(done: int) -> None:
    number = min(done, LAST)
    step = rest_of(stored(), steps_done=done)
    assert (step.task, step.options["task_id"]) == (STEP_TASKS[number].name, f"id-{number}")
    following = [entry["task"] for entry in reversed(step.options["chain"])]
    assert following == [task.name for task in STEP_TASKS[number + 1 :]]


def test_what_is_left_keeps_its_chord_its_error_callbacks_and_its_root() -> None:
    step = rest_of(stored(), steps_done=LAST)
    assert step.options["chord"]["task"] == summarise.name
    assert step.options["group_id"] == "batch"
    assert [callback["task"] for callback in step.options["link_error"]] == [cleanup.name]
    assert step.options["root_id"] == "root"


def test_a_message_of_a_later_step_is_never_moved_back() -> None:
    step = rest_of(stored(first=3), steps_done=1)
    assert (step.task, step.options["task_id"]) == (STEP_TASKS[3].name, "id-3")


def test_a_new_chain_of_what_is_left_ends_with_the_last_step() -> None:
    whole = run_chain(RUN)
    assert [step.task for step in whole.tasks] == [task.name for task in STEP_TASKS]
    for done in (LAST, LAST + 1):
        assert [step.task for step in run_chain(RUN, steps_done=done).tasks] == [STEP_TASKS[LAST].name]


def test_a_lone_message_is_no_way_to_go_on() -> None:
    acquire = STEP_TASKS[0]
    rest = [dict(task.si(RUN)) for task in reversed(STEP_TASKS[1:])]
    for chain, expected in ((rest, STEP_TASKS[2].name), (None, None)):
        acquire.push_request(id="id-0", args=[RUN], kwargs={}, chain=chain)
        try:
            continuation = acquire.continuation()
        finally:
            acquire.pop_request()
        assert (continuation and rest_of(continuation, steps_done=2).task) == expected


def test_a_parked_message_ends_as_done_without_sending_the_rest_of_its_chain() -> None:
    acquire = STEP_TASKS[0]
    acquire.push_request(chain=[{"task": "forkyard.provision"}])
    try:
        settle_outcome(acquire, Outcome.DONE)
        assert acquire.request.chain
        settle_outcome(acquire, Outcome.PARKED)
        assert acquire.request.chain is None
        with pytest.raises(Ignore):
            settle_outcome(acquire, Outcome.IGNORED)
    finally:
        acquire.pop_request()
