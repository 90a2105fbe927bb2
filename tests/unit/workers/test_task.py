"""The guard around every task: what may pass is tried again, later and later; nothing secret leaves."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Ignore, Retry

from orchestrator.errors import (
    BaselineBusy,
    CapacityExceeded,
    Fenced,
    ForkyardError,
    NotFound,
    ProviderUnavailable,
    RegistryUnavailable,
)
from tests.unit.workers.conftest import Message
from workers import tasks
from workers.canvas import batch
from workers.task import MAX_COUNTDOWN_SECONDS, MAX_RETRIES, ForkyardTask, StepFailed, options

SECRET = "no answer at postgresql://a:hunter2@h/d"
Published = Callable[[], list[Message]]


@pytest.fixture
def task() -> ForkyardTask:
    """A task of an application that nobody else uses."""
    app = Celery("trial", broker="memory://", set_as_current=False)

    @app.task(name="trial.step", shared=False, **options())
    def step(self: ForkyardTask, run_id: str) -> None:
        """Never called."""

    return app.tasks["trial.step"]  # type: ignore[no-any-return]


@contextmanager
def delivered(task: Any, *, retries: int = 0) -> Iterator[None]:
    """As if a worker had taken the task's message."""
    task.push_request(
        id="1", args=("clean/careful#2",), kwargs={}, retries=retries, called_directly=False, is_eager=False
    )
    try:
        yield
    finally:
        task.pop_request()


def failure(task: ForkyardTask, error: BaseException, *, retries: int = 0) -> BaseException:
    def work() -> None:
        try:
            raise ValueError(SECRET)
        except ValueError:
            raise error  # noqa: B904, with the other one as its context

    with delivered(task, retries=retries), pytest.raises(BaseException) as caught:
        task.attempt(work)
    return caught.value


def test_work_that_is_done_is_done(task: ForkyardTask) -> None:
    done = []
    task.attempt(lambda: done.append(1))
    assert done == [1]


@pytest.mark.parametrize("kind", [ProviderUnavailable, CapacityExceeded, BaselineBusy, RegistryUnavailable])
def test_what_may_pass_is_tried_again(task: ForkyardTask, kind: type[ForkyardError]) -> None:
    found = failure(task, kind(SECRET))
    assert isinstance(found, Retry)
    assert isinstance(found.exc, StepFailed)
    assert str(found.exc) == f"{kind.__name__}: no answer at postgresql://a:***@h/d"


def test_the_pauses_grow_up_to_a_minute(task: ForkyardTask) -> None:
    pauses = []
    for retries in range(MAX_RETRIES):
        found = failure(task, ProviderUnavailable(), retries=retries)
        assert isinstance(found, Retry)
        pauses.append(found.when)
    assert pauses == [1, 2, 4, 8, 16, 32]
    assert max(pauses) <= MAX_COUNTDOWN_SECONDS


def test_at_last_it_fails(task: ForkyardTask) -> None:
    assert isinstance(failure(task, ProviderUnavailable(SECRET), retries=MAX_RETRIES), StepFailed)


@pytest.mark.parametrize("error", [NotFound(SECRET), Fenced(SECRET), ForkyardError(SECRET), ZeroDivisionError(SECRET)])
def test_what_cannot_pass_fails_at_once_with_its_name(task: ForkyardTask, error: Exception) -> None:
    found = failure(task, error)
    assert isinstance(found, StepFailed)
    assert str(found) == f"{type(error).__name__}: no answer at postgresql://a:***@h/d"


@pytest.mark.parametrize("error", [ProviderUnavailable(SECRET), NotFound(SECRET), RuntimeError(SECRET)])
@pytest.mark.parametrize("retries", [0, MAX_RETRIES])
def test_no_traceback_that_celery_sends_around_holds_a_secret(
    task: ForkyardTask, error: Exception, retries: int
) -> None:
    found = failure(task, error, retries=retries)
    text = "".join(traceback.format_exception(found)) + repr(found) + str(found)
    assert "hunter2" not in text
    assert found.__cause__ is None
    assert found.__context__ is None


@pytest.mark.parametrize("error", [Ignore(), Retry("as asked"), KeyboardInterrupt(), SystemExit()])
def test_what_is_meant_for_celery_passes_through(task: ForkyardTask, error: BaseException) -> None:
    assert failure(task, error) is error


@pytest.mark.parametrize("name", sorted({"cleanup", "summarise", "sweep", *(t.name[9:] for t in tasks.STEP_TASKS)}))
def test_every_task_is_guarded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(tasks, "context", away)
    guarded = getattr(tasks, name)
    with delivered(guarded), pytest.raises(StepFailed) as caught:
        guarded.run(7 if name == "summarise" else "clean/careful#2")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_message_kept_for_later_goes_on_exactly_where_it_is(published: Published) -> None:
    batch(7, ["clean/careful#1", "clean/careful#2"]).apply_async()
    message = published()[0]
    task = tasks.acquire
    task.push_request(
        **{
            **message.headers,
            "args": message.args,
            "kwargs": {},
            "chain": list(reversed(message.chain)),
            "errbacks": message.errbacks,
            "chord": message.chord,
            "called_directly": False,
            "delivery_info": {"routing_key": "steps"},
        }
    )
    try:
        kept = json.loads(task.continuation())
    finally:
        task.pop_request()
    assert (kept["task"], kept["args"]) == ("forkyard.acquire", ["clean/careful#1"])
    assert [step["task"] for step in kept["options"]["chain"]] == [step["task"] for step in reversed(message.chain)]
    assert kept["options"]["link_error"][0]["task"] == "forkyard.cleanup"
    assert kept["options"]["chain"][0]["options"]["chord"]["task"] == "forkyard.summarise"
