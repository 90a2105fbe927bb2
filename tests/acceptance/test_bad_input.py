"""The user's mistakes: one sentence on standard error, exit code 2, no traceback, and nothing half-made."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from orchestrator.cli.setup import write_config
from tests.acceptance.site import Site, shell

MADE = """
SELECT (SELECT count(*) FROM projects), (SELECT count(*) FROM baselines WHERE state <> 'released'),
       (SELECT count(*) FROM experiments), (SELECT count(*) FROM runs), (SELECT count(*) FROM artifacts)
"""


@pytest.fixture
def nothing_made(site: Site) -> Iterator[None]:
    """Whatever the test asks for, registry, provider and secrets stay as they were."""
    site.project("plain")
    registry = make_conninfo(site.registry, options="-c search_path=forkyard_registry")

    def look() -> tuple[object, ...]:
        secrets = site.installation.settings.secrets_file.read_text()
        return site.query(registry, MADE), site.at_provider("baseline"), site.at_provider("fork"), secrets

    before = look()
    yield
    assert look() == before


@pytest.fixture
def refused(site: Site, nothing_made: None) -> Callable[..., str]:
    """Runs a command that must be refused; the sentence that says why."""

    def run(*arguments: str | Path, code: int = 2) -> str:
        done = site.forkyard(*arguments)
        assert done.code == code, (done.out, done.err)
        assert done.out == ""
        return sentence(done.err)

    return run


def sentence(text: str) -> str:
    """The one line of an error, which stands alone and begins with the program's name."""
    assert "Traceback" not in text
    assert re.fullmatch(r"forkyard: [^\n]+\n", text), text
    return text.removeprefix("forkyard: ").rstrip("\n")


SPECS: dict[str, tuple[str, str, int, str]] = {
    "unknown key": ("repeats: 2", "repeat: 2", 4, "unknown key 'repeat'; did you mean 'repeats'?"),
    "wrong type": ("repeats: 2", "repeats: two", 4, "'repeats' must be a whole number from 1 to 1000, not 'two'"),
    "N of 0": ("parallel: 2", "parallel: 0", 5, "'parallel' must be from 1 to 64, not 0"),
    "N of 10,000": ("parallel: 2", "parallel: 10000", 5, "'parallel' must be from 1 to 64, not 10000"),
    "repeats of 10,000": ("repeats: 2", "repeats: 10000", 4, "'repeats' must be from 1 to 1000, not 10000"),
    "missing folder": ("files: agents", "files: agent", 6, "there is no folder 'agent'"),
    "missing script": ("[python, go.py]", "[python, og.py]", 9, "runs 'og.py', which is not in 'agents'; did you mean"),
    "no best_by": ("promote: none", "promote: best", 3, "'promote: best' needs 'best_by'"),
    "a secret": ("NAME: x", "API_KEY: x", 10, "'API_KEY' looks like a secret"),
}
GOOD = """\
experiment: mistaken
project: plain
promote: none
repeats: 2
parallel: 2
files: agents
variants:
  first:
    agent: {command: [python, go.py]}
    environment: {NAME: x}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents/go.py").touch()
    (tmp_path / "good.yaml").write_text(GOOD)
    return tmp_path


@pytest.mark.parametrize("mistake", SPECS)
def test_a_mistake_in_the_experiment_file_is_named_with_its_line(
    mistake: str, folder: Path, refused: Callable[..., str]
) -> None:
    old, new, line, words = SPECS[mistake]
    assert old in GOOD
    path = folder / "bad.yaml"
    path.write_text(GOOD.replace(old, new))
    said = refused("submit", path)
    assert said.startswith(f"{path}:{line}: "), said
    assert words in said


def test_a_file_without_variants_or_that_is_not_there_is_refused(folder: Path, refused: Callable[..., str]) -> None:
    (folder / "none.yaml").write_text(GOOD.partition("variants:")[0] + "variants: {}\n")
    assert "none.yaml:7: there is no variant; add one" in refused("run", folder / "none.yaml")
    assert refused("run", folder / "nowhere.yaml").endswith("nowhere.yaml: there is no such file")


def test_unknown_things_are_named_with_what_there_is(folder: Path, refused: Callable[..., str]) -> None:
    good = folder / "good.yaml"
    said = refused("submit", good, "--variant", "frist")
    assert "there is no variant 'frist' in experiment 'mistaken'; did you mean 'first'?" in said
    good.write_text(GOOD.replace("project: plain", "project: plane"))
    assert "There is no project 'plane' (known: " in refused("submit", good)
    good.write_text(GOOD.replace("files:", "baseline: 77\nfiles:"))
    assert "no sealed baseline '77': run `forkyard baseline create plain`" in refused("submit", good)
    assert "There is no experiment 'nobody': `forkyard status` lists them." in refused("watch", "nobody")
    assert "There is no run 'nobody/first#1'." in refused("show", "nobody/first#1")
    assert "There is no project 'nobody'" in refused("baseline", "create", "nobody")
    assert "no sealed baseline '77'" in refused("baseline", "release", "plain", "77")
    assert "There is no sweep 'nothing'; there are: " in refused("sweep", "--only", "nothing")
    assert "--older-than takes an age of at least 60s" in refused("sweep", "--older-than", "soon")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("status", "--jsno"), "No such option: --jsno"),
        (("stats",), "No such command 'stats'"),
        (("submit",), "Missing argument 'EXPERIMENT.YAML'"),
        (("status", "--limit", "many"), "Invalid value for '--limit'"),
        (("project", "add", "plain", "--target", "postgresql://h/d", "--parallel", "0"), "--parallel must be between"),
        (("project", "add", "plain", "--target", "postgresql://h/d", "--parallel", "10000"), "and 256, not 10000"),
        (("project", "add", "Plain!", "--target", "postgresql://h/d"), "a-z, 0-9"),
        (("project", "add", "plain", "--target", "nonsense://"), "--target is not a PostgreSQL address"),
        (("project", "add", "plain", "--target", "postgresql://h/d", "--provider", "magic"), "magic"),
    ],
)
def test_wrong_words_on_the_command_line_are_answered_with_one_sentence(
    words: tuple[str, ...], said: str, refused: Callable[..., str]
) -> None:
    assert said in refused(*words)


def test_with_json_an_error_is_a_document_too(site: Site) -> None:
    done = site.forkyard("show", "nobody", "--json")
    assert (done.code, done.out) == (2, "")
    assert json.loads(done.err) == {"error": "There is no experiment 'nobody': `forkyard status` lists them."}


def test_a_target_that_does_not_answer_or_refuses_is_not_added(site: Site, refused: Callable[..., str]) -> None:
    target = site.project("plain")
    away = make_conninfo(target, host="127.0.0.1", port=str(closed_port()))
    said = refused("project", "add", "other", "--target", away)
    assert "cannot be reached" in said
    assert "Connection refused" in said
    said = refused("project", "add", "other", "--target", make_conninfo(target, password="wr0ng-pass"))
    assert 'password authentication failed for user "plain_owner"' in said
    assert "wr0ng-pass" not in said
    said = refused("project", "add", "other", "--target", make_conninfo(target, dbname="no_such_database"))
    assert 'database "no_such_database" does not exist' in said


def test_a_login_without_the_needed_rights_is_told_what_to_grant(site: Site, refused: Callable[..., str]) -> None:
    target = site.project("plain")
    with psycopg.connect(site.installation.admin_url, autocommit=True) as admin:
        admin.execute("CREATE ROLE weak LOGIN PASSWORD 'weak-password'")
    weak = make_conninfo(target, user="weak", password="weak-password")
    said = refused("project", "add", "other", "--target", make_conninfo(weak, dbname="postgres"))
    assert said.startswith("The target is not ready: weak may not create schema forkyard; GRANT CREATE ON DATABASE")
    said = refused("project", "add", "other", "--target", target, "--host", weak)
    assert said == (
        'The fork host is not ready: "weak" lacks CREATEDB CREATEROLE; ALTER ROLE "weak" CREATEDB CREATEROLE.'
    )


def test_a_broken_configuration_is_named_by_its_file(tmp_path: Path, refused: Callable[..., str], site: Site) -> None:
    config, folder = site.installation.config, site.installation.folder
    copy = tmp_path / "forkyard.toml"
    for change, words in {
        "[worker\nx = 1": "is not valid TOML",
        "[wroker]\nlease_seconds = 1": "unknown key 'wroker'; did you mean 'worker'?",
        "[llm]\nmodel = 'x'": "the key 'llm.base_url' is missing.",
        "[worker]\nlease_seconds = 'long'": "worker.lease_seconds: Input should be a valid integer",
        "[worker]\nlease_seconds = 5": "worker.lease_seconds must be at least three times",
    }.items():
        copy.write_text(f'state_dir = "{folder}/.forkyard"\n{change}\n')
        said = sentence_of(site, copy)
        assert str(copy) in said
        assert words in said, said
    shutil.copy(config, copy)
    said = sentence_of(site, tmp_path / "nowhere.toml")
    assert said == f"There is no file {tmp_path}/nowhere.toml: run `forkyard init`, or name another with --config."


def test_a_secrets_file_that_others_may_read_is_refused(tmp_path: Path, site: Site) -> None:
    write_config(tmp_path / "forkyard.toml", embedded=True)
    secrets = tmp_path / ".forkyard/secrets.toml"
    secrets.chmod(0o644)
    said = sentence_of(site, tmp_path / "forkyard.toml")
    assert said == f"{secrets} holds secrets and others may read it: run `chmod 600 {secrets}`."


def sentence_of(site: Site, config: Path) -> str:
    """What `status` says to a configuration that it must refuse."""
    done = site.forkyard("status", config=config)
    assert (done.code, done.out) == (2, "")
    return sentence(done.err)


def test_a_registry_that_is_away_refuses_or_is_not_ready_is_told_apart(
    site: Site, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, fresh_database: Callable[..., str]
) -> None:
    registry = site.installation.settings.registry.url
    monkeypatch.setenv("FORKYARD_REGISTRY__URL", f"postgresql://nobody@127.0.0.1:{closed_port()}/forkyard")
    said = refused("status")
    assert said.startswith("The registry cannot be reached: ")
    assert "Connection refused" in said
    assert "start its server (`forkyard up`, where it is embedded) or correct [registry]" in said
    assert refused("upgrade") == said
    monkeypatch.setenv("FORKYARD_REGISTRY__URL", registry)
    monkeypatch.setenv("FORKYARD_REGISTRY__PASSWORD", "wr0ng-pass")
    said = refused("status")
    assert "password authentication failed" in said
    assert "wr0ng-pass" not in said
    monkeypatch.setenv("FORKYARD_REGISTRY__URL", fresh_database("empty"))
    assert "run `forkyard upgrade`" in refused("status")


def test_another_installation_key_than_the_registrys_is_refused(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORKYARD_INSTALLATION_KEY", "not-the-key-of-this-installation")
    assert "another installation key than the registry knows" in refused("status")


def test_with_the_broker_away_an_experiment_is_recorded_and_runs_when_it_is_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.project("plain")
    path = site.experiment("patient", {"quick": shell("true")}, project="plain", promote="none")
    with monkeypatch.context() as away:
        away.setenv("FORKYARD_BROKER__URL", f"redis://127.0.0.1:{closed_port()}/0")
        done = site.process("submit", path)
    assert done.code == 0
    assert "patient: 1 run. Watch with: forkyard watch patient" in done.out
    assert "The runs are recorded and will start when it is back." in sentence(done.err)
    assert site.finished("patient", within=30)["quick#1"].reason == "the experiment promotes none"


def test_a_spec_that_asks_for_more_than_the_project_allows_or_an_unknown_provider_is_refused(
    site: Site, refused: Callable[..., str]
) -> None:
    path = site.experiment("wide", {"quick": shell("true")}, project="plain", promote="none", parallel=5)
    assert "parallel is 5, but project plain allows 4 runs at once" in refused("run", path)


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
