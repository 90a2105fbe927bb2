"""Every command: its help with an example, its words, its JSON document, its exit code."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.runs import RunState
from tests.acceptance.site import Site, behind, migrate, processes_with, shell, wait_until

GROUPS = {"project": ("add", "list"), "baseline": ("create", "list", "release")}
SINGLE = [
    *("init", "upgrade", "up", "down", "ps", "run", "submit", "watch", "status", "show", "logs", "receipt", "diff"),
    *("compare", "report", "promote", "discard", "cancel", "sweep", "doctor", "demo"),
]
COMMANDS = [*SINGLE, *(f"{group} {name}" for group, names in GROUPS.items() for name in names)]
WITHOUT_JSON = {"demo"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_that_begins_with_the_command(command: str, site: Site) -> None:
    done = site.forkyard(*command.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Example: forkyard {command}" in done.out
    assert ("--json" in done.out) == (command not in WITHOUT_JSON)


def test_the_help_of_all_names_every_command_and_no_other(site: Site) -> None:
    done = site.process("--help")
    assert done.code == 0
    listed = re.findall(r"^  ([a-z]+)  +\S", done.out.partition("Commands:")[2], re.MULTILINE)
    assert sorted(listed) == sorted([*SINGLE, *GROUPS])
    assert site.process().code == 2


@pytest.fixture(scope="module")
def batch(site: Site) -> str:
    """An experiment with one run that is held, one that was discarded and one that failed, in words and as JSON."""
    site.project("words")
    variants = {
        "good": migrate(
            "ALTER TABLE customers ADD COLUMN phone text", "UPDATE customers SET phone = '+1' WHERE id < 9"
        ),
        "unsure": shell("echo 'I looked around'"),
        "broken": shell("echo 'no way' >&2; exit 1"),
    }
    checks = {"small": "SELECT count(*) < 1000 FROM customers"}
    metrics = {"phones": "SELECT count(*) FROM customers"}
    path = site.experiment("words", variants, project="words", promote="review", checks=checks, metrics=metrics)
    done = site.process("run", path)
    assert done.code == 1
    assert done.err == ""
    for line in ("words/good#1: queued", "words/good#1: held waits for a person", "words/broken#1: failed The agent"):
        assert line in done.out, done.out
    return "words"


def test_looking_at_an_experiment_and_its_runs(site: Site, batch: str, tmp_path: Path) -> None:
    view = site.json("show", batch)
    assert view["states"] == {"held": 2, "failed": 1}
    watched = site.json("watch", batch, code=1)
    assert (watched["experiment"], watched["states"]) == (batch, view["states"])
    assert next(row for row in site.json("status") if row["experiment"] == batch)["finished"] == 1
    run = site.json("show", "words/good#1")
    assert [step["step"] for step in run["steps"]] == [
        "acquire",
        "provision",
        "run_agent",
        "apply_migrations",
        "capture",
        "settle",
    ]
    assert [(m["name"], m["applied"]) for m in run["migrations"]] == [("000.sql", True), ("001.sql", True)]
    assert run["metrics"]["phones"] == 200.0
    assert site.json("logs", "words/unsure#1") == {"run": "words/unsure#1", "log": "I looked around\n"}
    assert [entry["name"] for entry in site.json("diff", "words/good#1")["ledger"]] == ["000.sql", "001.sql"]
    compared = {row["variant"]: row["states"] for row in site.json("compare", batch)["variants"]}
    assert compared == {"good": {"held": 1}, "unsure": {"held": 1}, "broken": {"failed": 1}}
    assert {line["kind"] for line in site.json("receipt", batch)} == {"database", "role", "folder"}
    page = tmp_path / "page.html"
    assert site.json("report", batch, "--output", page) == {"report": str(page)}
    assert not re.findall(r"(?:src|href)=[\"']?https?:", page.read_text())


def test_the_same_in_words(site: Site, batch: str, tmp_path: Path) -> None:
    for words, pieces in {
        ("status",): ("words", "finished", "2 held, 1 failed"),
        ("show", batch): ("words (", "words/good#1", "held", "exited with code 1"),
        ("show", "words/good#1"): ("Steps", "apply_migrations", "Metrics", "phones", "small", "holds"),
        ("logs", "words/broken#1"): ("no way",),
        ("diff", "words/good#1"): ("migration 000.sql", "ADD COLUMN phone", "Schema", "customers.phone"),
        ("compare", batch): ("good", "1 held", "phones", "200"),
        ("receipt", batch): ("database", "seen gone", " left."),
        ("report", batch, "-o", str(tmp_path / "page.html")): ("Wrote ",),
        ("project", "list"): ("words", "clone", "dbname=words"),
        ("baseline", "list", "words"): ("sealed", "sha256:"),
        ("ps",): ("worker-agents", "running", "flower"),
        ("sweep", "--dry-run"): ("",),
    }.items():
        done = site.forkyard(*words)
        assert (done.code, done.err) == (0, ""), (words, done)
        assert [piece for piece in pieces if piece not in done.out] == [], (words, done.out)


def test_deciding_about_runs(site: Site, batch: str) -> None:
    variants = {"yes": migrate("COMMENT ON TABLE orders IS 'done'"), "no": shell("true")}
    ran = site.json("run", site.experiment("decide", variants, project="words", promote="review"), code=0)
    assert ran["states"] == {"held": 2}
    promoted = site.process("promote", "decide/yes#1", "--json")
    assert promoted.code == 0, promoted
    assert json.loads(promoted.out)["state"] == "merged"
    assert site.json("discard", "decide/no#1")["reason"] == "a person discarded it"
    for command in ("promote", "discard", "cancel"):
        done = site.forkyard(command, "decide/yes#1")
        assert done.code == 2
        assert done.err.startswith("forkyard: Run decide/yes#1 is merged")


def test_cancel_ends_what_runs_and_what_waits(site: Site, tmp_path: Path) -> None:
    site.project("words")
    variants = {"sits": behind(tmp_path / "never")}
    path = site.experiment("stop", variants, project="words", promote="none", repeats=3, parallel=1)
    sent = site.json("submit", path)
    assert sent == {"experiment": "stop", "runs": [f"stop/sits#{n}" for n in (1, 2, 3)], "warning": ""}
    handle = sent["experiment"]
    site.in_state(handle, RunState.RUNNING)
    asked = site.json("cancel", "stop")
    assert {row["run"] for row in asked} == {"stop/sits#1", "stop/sits#2", "stop/sits#3"}
    runs = site.finished(handle, within=20)
    assert {(run.state, run.reason) for run in runs.values()} == {(RunState.CANCELLED, "cancelled by a person")}
    assert site.json("watch", "stop", code=1)["states"] == {"cancelled": 3}
    site.assert_gone([run.id for run in runs.values()])
    assert processes_with("FORKYARD_RUN_ID=stop/") == {}
    single = site.submit(site.experiment("stop-one", variants, project="words", promote="none"))
    site.in_state(single, RunState.RUNNING)
    assert site.json("cancel", "stop-one/sits#1")[0]["run"] == "stop-one/sits#1"
    assert site.finished(single, within=20)["sits#1"].state is RunState.CANCELLED


def test_doctor_finds_everything_well_and_says_what_it_looked_at(site: Site) -> None:
    site.project("words")
    sweeps = site.installation.context.store.sweeps
    wait_until(lambda: {"rescue", "expire"} <= {row["name"] for row in sweeps.last()}, 30, "the first sweeps")
    done = site.process("doctor", "--json")
    findings = json.loads(done.out)
    assert [finding for finding in findings if not finding["ok"]] == []
    assert done.code == 0
    subjects = {finding["subject"] for finding in findings}
    assert {"registry", "broker", "queue agents", "queue steps", "queue gc", "stuck runs", "zombie forks"} <= subjects
    assert any(subject.startswith("words: target") for subject in subjects)


def test_a_second_up_starts_nothing_and_changes_nothing(site: Site) -> None:
    def running() -> dict[str, tuple[int, str]]:
        return {s["name"]: (s["pid"], s["state"]) for s in site.json("ps")["services"]}

    before = running()
    secrets = site.installation.settings.secrets_file.read_text()
    assert {"postgres", "valkey", "worker-agents", "worker-steps", "worker-gc", "beat", "flower"} == set(before)
    done = site.process("up", "--json")
    assert done.code == 0, done.err
    assert running() == before
    assert {s["name"] for s in json.loads(done.out)["services"]} == set(before)
    assert site.installation.settings.secrets_file.read_text() == secrets
    assert site.json("upgrade") == {"applied": []}


@pytest.fixture
def empty(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("empty")
    yield folder
    site.forkyard("down", "--destroy", config=folder / "forkyard.toml")


def test_an_installation_from_nothing_and_back(empty: Path, site: Site) -> None:
    made = site.json("init", empty, "--embedded")
    config = Path(made["config"])
    assert tomllib.loads(config.read_text())["embedded"] is True
    assert Path(made["secrets"]).stat().st_mode & 0o777 == 0o600
    again = site.forkyard("init", empty)
    assert again.code == 2
    assert again.err == f"forkyard: {config} exists already; it is left as it is.\n"
    # What opens a context runs as a process: this one's Celery talks to the shared installation's broker.
    early = site.process("status", config=config)
    assert early.code == 2
    assert "`forkyard up`" in early.err
    up = site.process("up", "--no-workers", "--json", config=config)
    assert up.code == 0, up.err
    services = {service["name"]: service for service in json.loads(up.out)["services"]}
    assert {name: service["state"] for name, service in services.items()} == {
        "postgres": "running",
        "valkey": "running",
    }
    assert site.forkyard("upgrade", config=config).out == "The registry is up to date.\n"
    sick = site.process("doctor", "--json", config=config)
    assert sick.code == 1
    assert "no worker serves it" in sick.out
    down = site.process("down", "--destroy", "--json", config=config)
    assert down.code == 0, down.err
    assert {service["state"] for service in json.loads(down.out)["services"]} == {"stopped"}
    assert processes_with(str(empty)) == {}
    assert site.forkyard("down", config=config).code == 0
