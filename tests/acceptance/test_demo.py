"""`forkyard demo`: the main job from nothing, twice, and interrupted in the middle."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.site import processes_with, wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def state() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="forkyard-demo-"))
    folder.chmod(0o711)
    yield folder / "demo"
    shutil.rmtree(folder, ignore_errors=True)


class Demo:
    """One `forkyard demo`, its output in a file."""

    def __init__(self, state: Path, log: Path) -> None:
        self._log = log
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FORKYARD_")}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator", "demo", "--state", str(state)],
                cwd=ROOT,
                env={**inherited, "COLUMNS": "180"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def end(self, within: float) -> int:
        try:
            return self.process.wait(within)
        finally:
            self.process.kill()


@pytest.mark.slow
def test_the_demo_merges_the_best_run_leaves_nothing_and_can_be_repeated_and_interrupted(
    state: Path, tmp_path: Path
) -> None:
    began = time.monotonic()
    demo = Demo(state, tmp_path / "first.log")
    code, said = demo.end(within=200), demo.said()
    print(f"the demo took {time.monotonic() - began:.1f} s\n{said}")
    assert code == 0
    assert "Traceback" not in said
    assert re.search(r"Merged clean-shop/careful#[12]: the best run: ", said)
    for variant, end in {"hasty": "discarded", "stubborn": "discarded", "crasher": "failed"}.items():
        assert all(f"clean-shop/{variant}#{repeat}: {end} " in said for repeat in (1, 2)), variant
    created, gone, left = map(int, re.findall(r"(\d+) created, (\d+) seen gone, (\d+) left", said)[-1])
    assert created == gone >= 24
    assert left == 0
    report = Path(re.findall(r"Report: (\S+)", said)[0]).read_text(encoding="utf-8")
    assert "careful" in report
    assert not re.findall(r"(?:src|href)=[\"']?https?:", report)
    assert processes_with(str(state)) == {}

    again = Demo(state, tmp_path / "second.log")
    wait_until(lambda: ": running" in again.said() or again.process.poll() is not None, 120, "the second demo's agents")
    assert again.process.poll() is None, again.said()
    again.process.send_signal(signal.SIGINT)
    code, said = again.end(within=60), again.said()
    assert code in (1, 130), said
    assert "Traceback" not in said
    assert "The stack is down; nothing of it runs any more." in said
    assert processes_with(str(state)) == {}
