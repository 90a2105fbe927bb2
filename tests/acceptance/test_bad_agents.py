"""Agents that misbehave, through the whole pipeline: a clear reason, unharmed siblings, nothing left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.runs import RunState
from tests.acceptance.site import Site, behind, edit, processes_with, python, shell

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(3):
            os.close(number)
        time.sleep(600)
    os._exit(0)
os.wait()
sys.exit(int(sys.argv[1]))
"""
FLOOD = "import sys\nfor n in range(40000):\n    print('a line of the flood', n)\nsys.exit('the reason stands last')"
BYTES = "import os; os.write(1, b'caf\\xe9 \\xff\\x00 end\\n'); os.write(2, b'\\xc3'); raise SystemExit(4)"
BAD_RESULT = 'echo \'{"metrics": {"x": "many"}}\' > $FORKYARD_RESULT'

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "hangs": (shell("trap '' TERM; sleep 600", timeout="1s"), "The agent was ended after 1 s, its time limit"),
    "floods": ({"agent": {"command": ["python", "-u", "-c", FLOOD]}}, "The agent exited with code 1"),
    "forks": (python(DAEMON, "5"), "The agent exited with code 5"),
    "swarms": (shell("for n in $(seq 80); do sleep 600 & done; wait"), "The agent started more than 40 processes"),
    "hoards": (shell("while :; do head -c 1000000 /dev/zero >> $(date +%N); sleep 0.05; done"), "more than 2 MB"),
    "one-file": (shell("head -c 9000000 /dev/zero > big"), "more than 2 MB"),
    "bytes": (python(BYTES), "The agent exited with code 4"),
    "exits": (shell("echo why >&2; exit 17"), "The agent exited with code 17; its last lines of log say why."),
    "killed": (shell("kill -9 $$"), "The agent was ended by SIGKILL."),
    "bad-result": (shell(BAD_RESULT), "The metric 'x' in the agent's result file is 'many', not a number"),
    "latin-sql": (shell("printf 'SELECT 1; -- caf\\351' > $FORKYARD_MIGRATIONS_DIR/1.sql"), "UTF-8"),
    "missing": ({"agent": {"command": ["no-such-program"]}}, "'no-such-program' is not installed on this worker"),
    "unset": (
        {**shell("true"), "environment": {"KEY": {"env": "NOT_SET_ANYWHERE"}}},
        "the worker's variable 'NOT_SET_ANYWHERE'",
    ),
}
"""By variant: the agent, and a piece of the reason that the run must end with."""


@pytest.mark.slow
def test_every_bad_agent_fails_alone_with_a_clear_reason_and_leaves_nothing(site: Site) -> None:
    target = site.project("zoo")
    good = edit("UPDATE customers SET name = 'well done' WHERE id = 1")
    variants = {"good": good, **{name: agent for name, (agent, _) in BAD.items()}}
    runs = site.run(site.experiment("zoo", variants, project="zoo", promote="all"))
    reasons = {run.variant: (run.state, run.reason or "") for run in runs.values()}
    assert reasons.pop("good")[0] is RunState.MERGED
    assert site.query(target, "SELECT name FROM customers WHERE id = 1") == [("well done",)]
    for name, (_, piece) in BAD.items():
        state, reason = reasons[name]
        assert state is RunState.FAILED, (name, state, reason)
        assert piece in reason, (name, reason)
        assert "Traceback" not in reason
        assert "internal error" not in reason
        assert "\n" not in reason
    assert site.forkyard("logs", "zoo/exits#1").out == "why\n"
    flood = site.forkyard("logs", "zoo/floods#1").out
    assert len(flood) <= 101_000
    assert flood.startswith("a line of the flood 0\n")
    assert flood.endswith("the reason stands last\n")
    assert "log truncated" in flood
    bytes_shown = site.json("logs", "zoo/bytes#1")["log"]
    assert bytes_shown.startswith("caf� �� end\n")
    site.assert_gone([run.id for run in runs.values()])
    assert processes_with("FORKYARD_RUN_ID=zoo/") == {}


def test_an_agent_that_writes_no_result_and_no_migration_is_no_failure(site: Site) -> None:
    site.project("idle")
    runs = site.run(site.experiment("idle", {"idle": shell("true")}, project="idle", promote="none"))
    assert (runs["idle#1"].state, runs["idle#1"].notes) == (RunState.DISCARDED, None)
    assert "Nothing was changed." in site.forkyard("diff", "idle/idle#1").out


def test_a_daemon_that_its_agent_leaves_behind_ends_with_the_run_that_succeeds(site: Site, tmp_path: Path) -> None:
    site.project("idle")
    gate = tmp_path / "gate"
    variants = {"daemon": python(DAEMON, "0"), "waits": behind(gate)}
    handle = site.submit(site.experiment("daemons", variants, project="idle", promote="none"))
    site.in_state(handle, RunState.DISCARDED)
    assert list(processes_with("FORKYARD_RUN_ID=daemons/daemon#1")) == []
    assert processes_with("FORKYARD_RUN_ID=daemons/waits#1")
    gate.touch()
    assert {run.state for run in site.finished(handle).values()} == {RunState.DISCARDED}
