"""The README's session, experiment and the how-tos' agents, run as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
SHOP = """
CREATE TABLE customers (id bigint PRIMARY KEY, email text);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint REFERENCES customers);
INSERT INTO customers SELECT n, CASE WHEN n % 10 = 0 THEN 'Ann' ELSE 'ann' END || n / 10 || '@example.org'
    FROM generate_series(1, 3000) AS n;
INSERT INTO orders SELECT n, n % 3000 + 1 FROM generate_series(1, 30000) AS n;
"""


def block(page: str, language: str) -> str:
    """The first block of that language on a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    match = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert match is not None
    return match[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder: the experiment of the README with the agents of the how-tos."""
    (tmp_path / "clean-customers.yaml").write_text(block("README.md", "yaml"), encoding="utf-8")
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents/agent.py").write_text(block("docs/howto/command.md", "python"), encoding="utf-8")
    (tmp_path / "agents/agents.py").write_text(block("docs/howto/callable.md", "python"), encoding="utf-8")
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations/10_lower.sql").write_text("UPDATE customers SET email = lower(email);\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def shop(fresh_database: Callable[..., str]) -> str:
    """The user's database: every tenth address is written with a capital letter."""
    url = fresh_database("readme")
    with psycopg.connect(url) as db:
        db.execute(SHOP)
    return url


@pytest.fixture
def forkyard(folder: Path, shop: str) -> Iterator[Callable[[str], str]]:
    """Runs a command line in the user's folder; the stack goes down afterwards, whatever happened."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FORKYARD_")}
    command_folder = folder / "bin"
    command_folder.mkdir()
    # The command as pip installs it, also where the tests run from a source tree that is not installed.
    (command_folder / "forkyard").write_text(
        f'#!/bin/sh\nexec {sys.executable} -m orchestrator "$@"\n', encoding="utf-8"
    )
    (command_folder / "forkyard").chmod(0o755)
    path = f"{command_folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = inherited | {"SHOP_URL": shop, "PATH": path, "PYTHONPATH": str(ROOT)}

    def run(command: str, check: bool = True) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0 or not check, f"$ {command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    yield run
    run("forkyard down --destroy", check=False)


@pytest.mark.slow
def test_the_session_of_the_readme_works_as_written(forkyard: Callable[[str], str], shop: str) -> None:
    assert COMMANDS[0] == "forkyard init --embedded"
    assert COMMANDS[-1] == "forkyard down"
    said = {command: forkyard(command) for command in COMMANDS}
    assert "careful" in said["forkyard compare clean-customers"]
    assert "customers" in said["forkyard diff clean-customers/careful#1"]
    assert " 0 left" in said["forkyard receipt clean-customers"]
    with psycopg.connect(shop) as db:
        left = db.execute("SELECT count(*) FROM customers WHERE email <> lower(email)").fetchone()
        merged = db.execute("SELECT count(*) FROM forkyard.merges WHERE outcome = 'merged'").fetchone()
    assert left == (0,)
    assert merged == (1,)


def test_every_command_that_the_docs_name_exists() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    known = set(re.findall(r"^  ([a-z]+)  +\S", help_text, re.MULTILINE))
    assert {"init", "run", "sweep"} <= known
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"forkyard ([a-z]+)\b", page.read_text(encoding="utf-8"))}
    words = {
        match
        for row in re.findall(r"^\| (`[a-z][^|]*`) \|", README, re.MULTILINE)
        for match in re.findall("`([a-z]+)", row)
    }
    commands = {name for name in named | words if name not in _PROSE}
    assert commands <= known, commands - known


_PROSE = {"best", "all", "none", "review"}
"""Words in the README's tables that are values, not commands."""
