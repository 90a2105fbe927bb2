"""Ctrl-C in `forkyard run`: asks once where somebody can answer, cancels cleanly, leaves nothing."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.runs import RunState
from tests.acceptance.site import Site, behind, processes_with, wait_until


class Terminal:
    """`forkyard run FILE` on a terminal of its own, or on a pipe."""

    def __init__(self, site: Site, file: Path, *, terminal: bool) -> None:
        self.seen = ""
        self._reading, writing = pty.openpty() if terminal else os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "--config", str(site.installation.config), "run", str(file)],
            stdin=writing if terminal else subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            start_new_session=True,
            env={**os.environ, "COLUMNS": "150", "TERM": "xterm"},
        )
        os.close(writing)
        os.set_blocking(self._reading, False)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._reading)

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def shows(self, words: str) -> bool:
        with contextlib.suppress(OSError):  # nothing new, or its end
            self.seen += os.read(self._reading, 100_000).decode(errors="replace")
        return words in self.seen

    def answer(self, words: str) -> None:
        self.seen = ""
        os.write(self._reading, words.encode())

    def end(self) -> int:
        wait_until(lambda: self.shows("\0") or self._process.poll() is not None, 40, "the command to end")
        self.shows("")
        return int(self._process.returncode)


@pytest.fixture
def waiting(site: Site, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, Path]:
    """An experiment whose agents wait for ever, with more runs than slots."""
    site.project("interrupted", max_parallel=2)
    name = f"wait-{request.param}"
    variants = {"waits": behind(tmp_path / "never")}
    return name, site.experiment(
        name, variants, project="interrupted", promote="best", repeats=3, best_by=["migrations"]
    )


@pytest.mark.parametrize("waiting", ["pipe"], indirect=True)
def test_where_nobody_can_answer_one_interrupt_cancels(site: Site, waiting: tuple[str, Path]) -> None:
    name, file = waiting
    with Terminal(site, file, terminal=False) as run:
        wait_until(lambda: run.shows("running"), 40, "a running agent")
        site.in_state(name, RunState.RUNNING, count=2)
        run.interrupt()
        assert run.end() == 1
        assert "Cancelling: agents are ended, forks released" in run.seen
        assert "Traceback" not in run.seen
    ended(site, name)


@pytest.mark.parametrize("waiting", ["terminal"], indirect=True)
def test_on_a_terminal_it_asks_and_a_no_lets_the_experiment_go_on(site: Site, waiting: tuple[str, Path]) -> None:
    name, file = waiting
    with Terminal(site, file, terminal=True) as run:
        wait_until(lambda: run.shows("running"), 40, "a running agent")
        site.in_state(name, RunState.RUNNING, count=2)
        run.interrupt()
        wait_until(lambda: run.shows("Cancel the experiment? [Y/n]"), 10, "the question")
        run.answer("n\n")
        wait_until(lambda: run.shows("waits#1"), 10, "the table")
        assert {run.cancel_requested_at for run in site.runs(name).values()} == {None}
        run.interrupt()
        wait_until(lambda: run.shows("Cancel the experiment? [Y/n]"), 10, "the question again")
        run.answer("y\n")
        assert run.end() == 1
        assert "Traceback" not in run.seen
    ended(site, name)


def ended(site: Site, name: str) -> None:
    """Every run is cancelled, and nothing of it is left."""
    runs = site.finished(name, within=5)
    assert {run.state for run in runs.values()} == {RunState.CANCELLED}
    site.assert_gone([run.id for run in runs.values()])
    assert processes_with(f"FORKYARD_RUN_ID={name}/") == {}
