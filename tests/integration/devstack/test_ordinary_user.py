"""The stack for a user who is not root; where the tests run as root, as the user `nobody`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).parents[3]
SITE = Path(psycopg.__file__).parents[1]
# Whether the user can start the interpreter too: `setpriv` itself still may what root may.
PROBE = """
import subprocess, sys
import psycopg, orchestrator.devstack
subprocess.run([sys.executable, "-c", ""], check=True)
"""
SCRIPT = """
import json, os, sys
from pathlib import Path
import psycopg
from orchestrator.devstack import Stack

stack = Stack(Path(sys.argv[1]) / "stack", disposable=True)
first = stack.up()
second = stack.up()
with psycopg.connect(stack.postgres_url()) as connection:
    answer = connection.execute("SELECT 1").fetchone()[0]
facts = {
    "answer": answer,
    "uid": os.geteuid(),
    "owners": [os.stat(f"/proc/{each.pid}").st_uid for each in second.services],
    "started": [sorted(first.started), sorted(second.started)],
    "mode": oct(stack.state_dir.stat().st_mode & 0o777),
    "notes": list(first.notes),
    "inside": first.data_dir.is_relative_to(stack.state_dir),
    "down": [str(each.state) for each in stack.down().services],
}
stack.down(destroy=True)
facts["left"] = stack.state_dir.exists()
print(json.dumps(facts))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="forkyard-user-"))
    if os.geteuid() == 0:
        os.chown(made, 65534, 65534)
    yield made
    shutil.rmtree(made)


def as_ordinary_user(argv: list[str]) -> subprocess.CompletedProcess[str]:
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{SITE}", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([*prefix, *argv], capture_output=True, text=True, env=environment, cwd="/", timeout=120)


def interpreter() -> str:
    """This interpreter, or one of the same version that an ordinary user may run."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        if as_ordinary_user([candidate, "-c", PROBE]).returncode == 0:
            return candidate
    pytest.skip("no Python that an ordinary user could run")


def test_an_ordinary_user_gets_a_stack_of_their_own(folder: Path) -> None:
    done = as_ordinary_user([interpreter(), "-c", SCRIPT, str(folder)])
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["uid"] != 0
    assert facts == {
        "answer": 1,
        "uid": facts["uid"],
        "owners": [facts["uid"]] * 2,
        "started": [["postgres", "valkey"], []],
        "mode": "0o700",
        "notes": [],
        "inside": True,
        "down": ["stopped", "stopped"],
        "left": False,
    }


def test_a_folder_that_the_user_may_not_write_to_is_one_sentence(folder: Path) -> None:
    script = (
        "from orchestrator.devstack import Stack\n"
        "from orchestrator.errors import StackError\n"
        "try:\n    Stack('/proc/forkyard').up()\nexcept StackError as exc:\n    print(exc)\n"
    )
    done = as_ordinary_user([interpreter(), "-c", script])
    assert done.stdout.startswith("Could not bring up the stack in /proc/forkyard: No such file"), done.stderr
