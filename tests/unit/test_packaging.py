"""What a stranger relies on before any of our code runs: locks, compose file, image, Makefile, CI."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.settings import load

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LONG_LIVED = {name: service for name, service in SERVICES.items() if name not in ("upgrade", "cli")}
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins(lock: Path) -> dict[tuple[str, str], list[str]]:
    """{(name, version): hashes} of a lock file."""
    found: dict[tuple[str, str], list[str]] = {}
    for requirement in lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        head, *hashes = requirement.split("--hash=")
        name, _, rest = head.partition("==")
        found[name.strip(), rest.split(";")[0].strip()] = [text.strip() for text in hashes]
    return found


def normal(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-")


# --- locks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_version_is_exact_and_hashed(lock: Path) -> None:
    locked = pins(lock)
    assert locked
    for (name, version), hashes in locked.items():
        assert re.fullmatch(r"[0-9][0-9A-Za-z.+!]*", version), f"{name} is not pinned in {lock.name}"
        assert hashes, f"{name} has no hash in {lock.name}"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", text) for text in hashes), name


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_no_place_to_fetch_from(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    for word in ("://", "--index-url", "--extra-index-url", "--find-links", "--trusted-host", " @ ", "#"):
        assert word not in text, f"{lock.name} holds {word!r}"


def test_the_image_runs_the_versions_that_the_tests_ran_with() -> None:
    tested = set(pins(ROOT / "requirements/dev.txt"))
    shipped = set(pins(ROOT / "requirements/runtime.txt"))
    assert shipped < tested
    assert set(pins(ROOT / "requirements/build.txt")) <= tested


def test_the_locks_cover_what_the_project_asks_for() -> None:
    extras: dict[str, list[str]] = PROJECT["optional-dependencies"]
    locked = {name for name, _ in pins(ROOT / "requirements/runtime.txt")}
    wanted = [*PROJECT["dependencies"], *extras["embedded"], *extras["llm"], *extras["report"]]
    assert {normal(requirement) for requirement in wanted} <= locked
    dev = {normal(requirement) for requirement in extras["dev"]} - {"forkyard"}
    assert dev <= {name for name, _ in pins(ROOT / "requirements/dev.txt")}


# --- docker compose -----------------------------------------------------------------------------------------------


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [str(value)]


def test_no_service_has_a_default_password() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|KEY|AUTH$", key) and key != "FORKYARD_LLM__API_KEY":
                assert re.search(r"\$\{[A-Z_]+:\?[^}]+}$", value), f"{name}: {key} may start without a secret"
    for text in texts(COMPOSE):
        assert not re.search(r"(PASSWORD|KEY)[A-Z_]*:?-[^}]", text), f"a secret with a default: {text}"
        assert not re.search(r"://[^/\s]*:[^/\s]*@", text), f"a password in an address: {text}"


def test_a_missing_env_file_is_explained() -> None:
    needed = [text for text in texts(COMPOSE) if ":?" in text]
    assert needed
    assert all("make env" in text for text in needed)


@pytest.mark.parametrize("name", sorted(LONG_LIVED))
def test_every_long_lived_service_has_a_health_check_and_comes_back(name: str) -> None:
    service = LONG_LIVED[name]
    check = service["healthcheck"]
    assert check["test"]
    assert {"interval", "timeout", "retries"} <= set(check)
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] not in ("root", "0", "0:0")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "cpus", "pids_limit"} <= set(service)
    assert not [volume for volume in service.get("volumes", []) if "docker.sock" in volume]


def test_only_flower_publishes_a_port_and_only_to_this_host() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"flower"}
    assert all(port.startswith("127.0.0.1:") for port in published["flower"])


def test_registry_and_broker_have_no_way_out() -> None:
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert SERVICES["postgres"]["networks"] == SERVICES["valkey"]["networks"] == ["inside"]


def test_flower_asks_for_a_password_and_changes_nothing() -> None:
    assert "--read_only=True" in SERVICES["flower"]["command"]
    assert SERVICES["flower"]["environment"]["FLOWER_BASIC_AUTH"].startswith("forkyard:${")


@pytest.mark.parametrize("name", ["beat", "flower"])
def test_what_needs_the_broker_only_gets_no_other_secret(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert "env_file" not in SERVICES[name]
    assert not {"FORKYARD_INSTALLATION_KEY", "FORKYARD_REGISTRY__PASSWORD"} & set(environment)


def test_the_broker_keeps_what_it_is_given() -> None:
    command = " ".join(SERVICES["valkey"]["command"])
    for option in ("--appendonly yes", "--maxmemory-policy noeviction", "requirepass"):
        assert option in command
    assert "valkey:/data" in SERVICES["valkey"]["volumes"]


def test_postgres_takes_scram_only_and_keeps_its_data_where_version_18_looks() -> None:
    environment = SERVICES["postgres"]["environment"]
    assert environment["POSTGRES_HOST_AUTH_METHOD"] == "scram-sha-256"
    assert "--auth-local=scram-sha-256" in environment["POSTGRES_INITDB_ARGS"]
    assert SERVICES["postgres"]["image"] == "postgres:18"
    assert "postgres:/var/lib/postgresql" in SERVICES["postgres"]["volumes"]


def test_no_login_of_ours_is_a_superuser_and_the_public_may_connect_nowhere() -> None:
    script = (ROOT / "docker/postgres-init.sql").read_text(encoding="utf-8")
    logins = dict(re.findall(r"^CREATE ROLE (\w+) LOGIN (.*?)PASSWORD :'\w+';$", script, re.MULTILINE))
    assert {name: rights.split() for name, rights in logins.items()} == {
        "forkyard_registry": [],
        "forkyard_host": ["CREATEDB", "CREATEROLE"],
    }
    assert "REVOKE ALL ON DATABASE forkyard, postgres, template1 FROM PUBLIC;" in script
    for key in ("FORKYARD_REGISTRY__URL", "FORKYARD_FORK_HOST__URL"):
        login = re.match(r"postgresql://(\w+)@postgres:", SERVICES["steps"]["environment"][key])
        assert login is not None
        assert login[1] in logins


def test_where_agents_run_there_are_no_passwords_of_other_databases() -> None:
    agents = SERVICES["agents"]
    assert agents["volumes"] == []
    assert agents["env_file"] == ["agents.env"]
    assert "FORKYARD_LLM__API_KEY" not in agents["environment"]
    assert "POSTGRES_PASSWORD" not in {
        key for name in SERVICES if name != "postgres" for key in SERVICES[name].get("environment", {})
    }


def test_every_queue_has_its_worker() -> None:
    from workers.config import QUEUES

    served = [re.search(r"-Q (\S+)", str(service.get("command"))) for service in SERVICES.values()]
    assert {match[1] for match in served if match} == set(QUEUES.values())


def test_workers_wait_for_the_upgrade() -> None:
    for name in ("agents", "steps", "gc", "beat", "flower"):
        assert SERVICES[name]["depends_on"]["upgrade"] == {"condition": "service_completed_successfully"}
    assert SERVICES["upgrade"]["command"] == ["forkyard", "upgrade"]


def test_the_settings_understand_what_compose_passes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("FORKYARD_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    for name, value in SERVICES["agents"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{([A-Z_]+):\?.*}", r"value-of-\1", value))
    monkeypatch.setenv("FORKYARD_PROJECTS__SHOP__TARGET_PASSWORD", "told")
    settings = load()
    assert settings.fork_host is not None
    assert "value-of-FORKYARD_FORK_HOST__PASSWORD" in settings.fork_host.conninfo()
    assert "value-of-FORKYARD_REGISTRY__PASSWORD" in settings.registry.conninfo()
    assert settings.broker.password is not None
    assert settings.broker.password.get_secret_value() == "value-of-FORKYARD_BROKER__PASSWORD"
    assert settings.key == b"value-of-FORKYARD_INSTALLATION_KEY"
    target = settings.project_secrets("shop").target_password
    assert target is not None
    assert target.get_secret_value() == "told"


# --- .env -----------------------------------------------------------------------------------------------------------


def write_env(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/compose_env.py"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def values(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_the_env_file_is_private_and_random(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        assert write_env(folder).returncode == 0
        assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
        assert stat.S_IMODE((folder / "agents.env").stat().st_mode) == 0o600
    secrets = [secret for folder in folders for secret in values(folder / ".env").values()]
    assert len(set(secrets)) == len(secrets)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{40,}", secret) for secret in secrets)


def test_the_env_file_has_every_secret_that_compose_asks_for(tmp_path: Path) -> None:
    write_env(tmp_path)
    asked = {match for text in texts(COMPOSE) for match in re.findall(r"\$\{([A-Z_]+):\?", text)}
    assert asked == set(values(tmp_path / ".env"))


@pytest.mark.parametrize("name", [".env", "agents.env"])
def test_an_env_file_that_exists_is_never_overwritten(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("SECRET=precious\n", encoding="utf-8")
    refused = write_env(tmp_path)
    assert (refused.returncode == 2) is (name == ".env")
    assert ("stays as it is" in refused.stdout) is (name == ".env")
    assert path.read_text(encoding="utf-8") == "SECRET=precious\n"


def test_an_env_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    refused = write_env(tmp_path / "missing")
    assert refused.returncode == 2
    assert refused.stdout.count("\n") == 1
    assert refused.stderr == ""


# --- image ----------------------------------------------------------------------------------------------------------


def test_the_image_is_built_in_stages_from_hashed_versions_and_ends_without_root() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert len(re.findall(r"^FROM ", text, re.MULTILINE)) == 2
    assert all("--no-deps" in line or "--require-hashes" in line for line in re.findall(r".*pip install.*", text))
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] == "10001:10001"
    assert f"forkyard:{PROJECT['version']}" == SERVICES["agents"]["image"]


def test_the_build_context_leaves_secrets_out() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert let_in == {"pyproject.toml", "README.md", "LICENSE", "requirements", "orchestrator", "workers"}


# --- make and CI ------------------------------------------------------------------------------------------------------


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # A test run is itself started by make: its flags must not reach this one.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "KEEP"))}
    inherited = {name: value for name, value in inherited.items() if name not in ("ARGS", "PYTHON")}
    return subprocess.run(
        ["make", "-C", str(ROOT), "--no-print-directory", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=inherited | environment,
        check=False,
    )


def test_make_alone_explains_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony is not None
    listed = re.findall(r"^  make (\S+) +\S", make().stdout, re.MULTILINE)
    assert sorted(listed) == sorted(phony[1].split())


@pytest.mark.parametrize(("keep", "kept"), [("1", True), ("0", False), ("", False)])
def test_make_demo_keeps_the_stack_only_when_asked(keep: str, kept: bool) -> None:
    planned = make("--dry-run", "demo", f"KEEP={keep}").stdout
    assert "orchestrator demo" in planned
    assert ("--keep" in planned) is kept


def find_python(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", ROOT / "scripts/find_python.sh"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )


def test_a_python_that_is_too_old_is_refused_in_one_sentence(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    refused = find_python(PATH=os.environ["PATH"], PYTHON=str(old))
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert "3.11" in refused.stderr


def test_no_python_at_all_is_refused_in_one_sentence(tmp_path: Path) -> None:
    shell = shutil.which("sh")
    assert shell is not None
    command = [shell, str(ROOT / "scripts/find_python.sh")]
    refused = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={"PATH": str(tmp_path)}, check=False
    )
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "Python 3.11 or newer" in refused.stderr


def test_this_python_is_good_enough() -> None:
    assert find_python(PATH=os.environ["PATH"], PYTHON=sys.executable).stdout.strip() == sys.executable


def test_ci_lints_then_tests_and_stops_at_the_first_failure() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert "set -euo pipefail" in text
    assert text.index("make lint") < text.index("make test")
    assert "export CI=true" in text
    checked = subprocess.run(["bash", "-n", script], capture_output=True, text=True, timeout=30, check=False)
    assert checked.returncode == 0, checked.stderr


def test_pre_commit_runs_local_tools_only() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repository["repo"] for repository in config["repos"]} == {"local"}
    hooks = {hook["id"] for repository in config["repos"] for hook in repository["hooks"]}
    assert hooks == {"ruff-check", "ruff-format", "mypy", "import-contracts", "codespell"}


def test_the_licence_is_the_one_that_is_declared() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_changelog_has_an_entry_for_this_version_or_is_about_to() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "Keep a Changelog" in text
    assert re.search(rf"^## \[?(Unreleased|{re.escape(PROJECT['version'])})\b", text, re.MULTILINE)
