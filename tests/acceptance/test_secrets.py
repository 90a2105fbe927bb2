"""No password anywhere: broker, results, Flower, Celery's inspection, logs, registry, reports, command lines."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg
import pytest
import redis
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from orchestrator.app.embedded import stack_of
from orchestrator.runs import RunState
from orchestrator.secrets import derive
from tests.acceptance.site import PASSED_ON, Site, behind

TALKATIVE = """
import json, os, re, sys, urllib.parse
url = os.environ["DATABASE_URL"]
password = urllib.parse.urlsplit(url).password
print("my database is", url)
print("PASSWORD:", password)
print("plainly", password, "and", os.environ["API_KEY"], file=sys.stderr)
print({"api_key": os.environ["API_KEY"]})
with open(os.path.join(os.environ["FORKYARD_MIGRATIONS_DIR"], "1.sql"), "w") as file:
    file.write("ALTER TABLE customers ADD COLUMN told text;")
with open(os.environ["FORKYARD_RESULT"], "w") as file:
    json.dump({"metrics": {"said": 1}, "notes": f"I used {url} and {password} and {os.environ['API_KEY']}"}, file)
sys.exit(int(sys.argv[1]))
"""
WRITES = """
import os
with open(os.path.join(os.environ["FORKYARD_MIGRATIONS_DIR"], "1.sql"), "w") as file:
    file.write(f"-- for {os.environ['DATABASE_URL']}\\nSELECT 1;")
"""


@pytest.fixture(scope="module")
def told(site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A batch of agents that tell all they know has run, while every command that reached Valkey, and every command
    line on this machine, was written down. By place: its text."""
    site.project("secret")
    gate = tmp_path_factory.mktemp("secrets") / "gate"
    passed = {"environment": {"API_KEY": {"env": PASSED_ON}}}
    variants = {
        "tells": {"agent": {"command": ["python", "talkative.py", "0"]}, **passed},
        "fails": {"agent": {"command": ["python", "talkative.py", "3"]}, **passed},
        "writes": {"agent": {"command": ["python", "writes.py"]}, **passed},
        "waits": behind(gate),
    }
    agents = tmp_path_factory.mktemp("agents")
    (agents / "talkative.py").write_text(TALKATIVE)
    (agents / "writes.py").write_text(WRITES)
    path = site.experiment("told", variants, project="secret", promote="review", files=str(agents))
    with _everything_sent_to(stack_of(site.installation.settings).valkey_url()) as sent:
        handle = site.submit(path)
        site.in_state(handle, RunState.RUNNING)
        places = {"command lines": _command_lines(), "celery while it runs": _celery(site)}
        gate.touch()
        runs = site.finished(handle)
    assert runs["tells#1"].state is RunState.HELD
    assert "The migration 1.sql holds a secret that the agent was given" in str(runs["writes#1"].reason)
    site.json("baseline", "create", "secret")
    promoted = site.forkyard("promote", "told/tells#1")
    assert promoted.code == 0, promoted
    return {
        **places,
        "everything sent to Valkey": "\n".join(sent),
        "Valkey afterwards": _valkey(stack_of(site.installation.settings).valkey_url()),
        "Flower": _flower(site),
        "the logs": _logs(site),
        "the registry": _registry(site),
        "the command line's words": _words(site, tmp_path_factory.mktemp("report")),
    }


def test_no_secret_is_in_any_place_that_people_or_machines_look_at(told: Mapping[str, str], site: Site) -> None:
    secrets = _secrets(site)
    assert len(secrets) >= 20
    leaks = [
        f"{name} in {place}: …{text[max(0, text.index(form) - 200) : text.index(form)]}"
        for place, text in told.items()
        for name, secret in secrets.items()
        for form in _forms(secret)
        if form in text
    ]
    assert leaks == []


def test_the_places_were_really_looked_at(told: Mapping[str, str], site: Site) -> None:
    for place, words in {
        "command lines": ("celery", "agents@"),
        "celery while it runs": ("told/waits#1", "broker_url"),
        "everything sent to Valkey": ("told/tells#1", "forkyard.run_agent", "forkyard:broker:"),
        "Valkey afterwards": ("forkyard:results:",),
        "Flower": ("told/tells#1", "forkyard.settle", "flower_events_total", "agents@"),
        "the logs": ("forkyard.run_agent", "database system is ready", "Ready to accept connections"),
        "the registry": ("told/tells#1", "customers ADD COLUMN told", "my database is"),
        "the command line's words": ("my database is", "told/tells#1", "<html", "secret_owner"),
    }.items():
        assert [word for word in words if word not in told[place]] == [], place


def test_what_the_agent_said_is_kept_with_its_secrets_struck_out(told: Mapping[str, str], site: Site) -> None:
    log = site.json("logs", "told/tells#1")["log"]
    assert re.search(r"my database is postgresql://fy_[0-9a-f]{8}_f\d+:\*\*\*@", log), log
    assert "PASSWORD: ***" in log
    assert "plainly *** and ***" in log
    assert site.json("show", "told/tells#1")["notes"].endswith("and *** and ***")


def _secrets(site: Site) -> dict[str, str]:
    """Every secret of the installation, by a name."""
    found: dict[str, str] = {"an agent's variable": site.passed_on}
    key = b""
    for path in (site.installation.settings.secrets_file, site.installation.folder / ".forkyard/stack/passwords.json"):
        text = path.read_text()
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        for name, value in _leaves(values):
            if re.search("password|key|postgres$|valkey$", name):
                found[f"{path.name}: {name}"] = value
            if name == "installation_key":
                key = value.encode()
    for name, target in site.targets.items():
        found[f"target of {name}"] = str(conninfo_to_dict(target)["password"])
    found["the reader of baselines"] = derive(key, "reader")
    rows = site.query(site.registry, "SELECT name FROM forkyard_registry.environments")
    for (name,) in rows:
        found |= {f"{name} as {login}": derive(key, "fork", name, login) for login in ("agent", "capture")}
    return found


def _leaves(values: Mapping[str, object], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        where = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            yield from _leaves(value, where)
        elif isinstance(value, str):
            yield where, value


def _forms(secret: str) -> set[str]:
    """The secret as it is, in a URL, and in base64 at any of the three offsets."""
    forms = {secret, quote(secret, safe="")}
    for offset in range(3):
        encoded = base64.b64encode(b"x" * offset + secret.encode()).decode()
        forms.add(encoded[4 : len(encoded) - 4])
    return forms


class _everything_sent_to:
    """Every command that any client sends to that Valkey, from MONITOR (which hides AUTH by itself)."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=None)
        self._lines: list[str] = []
        self._end = threading.Event()

    def __enter__(self) -> list[str]:
        self._monitor = self._client.monitor()
        self._monitor.__enter__()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self._lines

    def _listen(self) -> None:
        while not self._end.is_set():
            self._lines.append(str(self._monitor.next_command()["command"]))

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._client.ping()  # one more command, so that the listener sees the end
        self._thread.join(timeout=10)
        self._monitor.__exit__(None, None, None)
        self._client.close()


def _valkey(url: str) -> str:
    """Every key of every database with its value, whatever its type; and base64 bodies decoded."""
    texts = []
    with redis.Redis.from_url(url) as client:
        databases = [int(name.removeprefix("db")) for name in client.info("keyspace")]
    for number in databases:
        with redis.Redis.from_url(re.sub(r"/\d+$", f"/{number}", url)) as client:
            for key in client.scan_iter(count=1000):
                kind = client.type(key).decode()
                value: object = {
                    "string": client.get,
                    "hash": client.hgetall,
                    "set": client.smembers,
                    "list": lambda key: client.lrange(key, 0, -1),
                    "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
                    "stream": client.xrange,
                }[kind](key)
                texts.append(f"{key!r} = {value!r}")
    return _with_bodies("\n".join(texts))


def _with_bodies(text: str) -> str:
    """The text, and what stands in its base64 pieces."""
    pieces = []
    for piece in re.findall(r"[A-Za-z0-9+/]{40,}={0,2}", text):
        try:
            pieces.append(base64.b64decode(piece + "=" * (-len(piece) % 4)).decode("utf-8", errors="replace"))
        except ValueError:
            continue
    return text + "\n".join(pieces)


def _celery(site: Site) -> str:
    """What `celery inspect` shows of every worker."""
    environment = {**os.environ, "FORKYARD_CONFIG": str(site.installation.config)}
    script = (
        "from workers.app import app\n"
        "look = app.control.inspect(timeout=20, limit=3)\n"  # three workers answer: then it waits no longer
        "print(look.active(), look.reserved(), look.scheduled(), look.stats(), look.conf(with_defaults=True))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _flower(site: Site) -> str:
    settings = site.installation.settings.flower
    assert settings.password is not None
    base = f"http://127.0.0.1:{settings.port}"
    assert httpx.get(f"{base}/api/tasks").status_code == 401
    with httpx.Client(base_url=base, auth=(settings.user, settings.password.get_secret_value()), timeout=20) as client:
        texts = []
        for path in ("/api/workers?refresh=1", "/api/tasks?limit=10000", "/metrics", "/workers", "/tasks", "/broker"):
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.text)
            texts.append(answer.text)
        tasks = json.loads(texts[1])
        told = [uuid for uuid, task in tasks.items() if "told/" in str(task["args"])]
        for uuid in told[:8]:
            texts += [client.get(f"/task/{uuid}").text, client.get(f"/api/task/info/{uuid}").text]
        for worker in json.loads(texts[0]):
            texts.append(client.get(f"/worker/{worker}").text)
    return "\n".join(texts)


def _logs(site: Site) -> str:
    state = site.installation.folder / ".forkyard"
    return "\n".join(path.read_text(errors="replace") for path in state.rglob("*.log"))


def _registry(site: Site) -> str:
    """Every row of every table, and every artifact unpacked."""
    texts = []
    with psycopg.connect(site.registry) as registry:
        tables = registry.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'forkyard_registry'").fetchall()
        assert len(tables) >= 15
        for (table,) in tables:
            rows = registry.execute(
                sql.SQL("SELECT row_to_json(t)::text FROM forkyard_registry.{} AS t").format(sql.Identifier(table))
            )
            texts += [f"{table}: {row}" for (row,) in rows]
        hashes = registry.execute("SELECT hash FROM forkyard_registry.artifacts").fetchall()
    artifacts = site.installation.context.store.artifacts
    texts += [artifacts.get(digest).decode("utf-8", errors="replace") for (digest,) in hashes]
    return "\n".join(texts)


def _words(site: Site, folder: Path) -> str:
    """What the commands print, as text and as JSON, and the report."""
    commands: list[tuple[str, ...]] = [
        ("status",),
        ("show", "told"),
        ("compare", "told"),
        ("receipt", "told"),
        ("doctor",),
        ("ps",),
        ("sweep", "--dry-run"),
        ("project", "list"),
        ("baseline", "list", "secret"),
    ]
    for run in ("told/tells#1", "told/fails#1", "told/writes#1"):
        commands += [(name, run) for name in ("show", "logs", "diff", "receipt")]
    texts = []
    for command in commands:
        for more in ((), ("--json",)) if command != ("doctor",) else ((),):
            done = site.forkyard(*command, *more)
            texts += [done.out, done.err]
    page = folder / "report.html"
    assert site.forkyard("report", "told", "-o", str(page)).code == 0
    return "\n".join([*texts, page.read_text()])


def _command_lines() -> str:
    """The command line of every process: other accounts of the machine can read those."""
    texts = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            texts.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(texts)
