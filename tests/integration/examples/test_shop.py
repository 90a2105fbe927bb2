"""The demo's database and agents do what examples/shop/README.md says of them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import psycopg
import pytest
from psycopg import sql

from orchestrator.agents import callable as callable_agent
from orchestrator.agents import command
from orchestrator.agents.environment import agent_environment
from orchestrator.agents.result import AgentResult, read_result
from orchestrator.agents.sql import copy_migrations
from orchestrator.experiments.load import load
from orchestrator.experiments.plan import run_seed
from orchestrator.experiments.spec import Experiment
from orchestrator.migrations.apply import apply_migration
from orchestrator.migrations.files import Migration
from orchestrator.migrations.fixers import RULES
from orchestrator.migrations.records import MigrationOutcome

SHOP = Path(__file__).parents[3] / "examples" / "shop"
EXPERIMENT = load(SHOP / "experiment.yaml")


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"shop_{file.stem}", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


seed = _module(SHOP / "seed.py")


@pytest.fixture(scope="module")
def template(admin_url: str) -> Iterator[tuple[str, str]]:
    """A seeded shop as (its owner's URL, the owner), to be copied by each test and never changed."""
    name = f"shop_{uuid.uuid4().hex[:12]}"
    url = seed.create(admin_url, password="open-sesame", database=name, owner=name)
    assert seed.fill(url) == {"customers": 20_000, "products": 400, "orders": 30_000, "order_items": 50_000}
    yield url, name
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def shop(admin_url: str, template: tuple[str, str]) -> Iterator[str]:
    """The owner's URL of a shop of its own."""
    url, owner = template
    copy = f"{owner}_{uuid.uuid4().hex[:6]}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
        admin.execute(statement.format(sql.Identifier(copy), sql.Identifier(owner), sql.Identifier(owner)))
    yield psycopg.conninfo.make_conninfo(url, dbname=copy)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(copy)))


@dataclass(frozen=True, kw_only=True)
class Run:
    exit_code: int
    log: str
    migrations: dict[str, str]
    result: AgentResult


def run(variant: str, shop: str, folder: Path, repeat: int = 1) -> Run:
    """One run as a worker would do it: the agent gets its variables and its files, and nothing else."""
    workspace = folder / "workspace"
    files = EXPERIMENT.files_folder(variant, beside=SHOP)
    assert files is not None
    workspace.mkdir()
    for file in files.iterdir():
        if file.is_file():
            (workspace / file.name).write_bytes(file.read_bytes())
    migrations_dir = folder / "migrations"
    migrations_dir.mkdir()
    environment = agent_environment(
        run_id=f"{EXPERIMENT.name}/{variant}#{repeat}",
        database_url=shop,
        task=EXPERIMENT.task,
        parameters=EXPERIMENT.variants[variant].parameters,
        seed=run_seed(EXPERIMENT.seed, variant, repeat),
        workspace=workspace,
        migrations_dir=migrations_dir,
        result_path=folder / "result.json",
        worker={"PATH": os.environ["PATH"]},
    )
    agent = EXPERIMENT.variants[variant].agent
    exit_code, log = 0, ""
    if agent.sql is not None:
        copy_migrations(".", workspace=workspace, migrations_dir=migrations_dir)
    else:
        argv = (
            command.argv(agent.command, workspace=workspace, path=environment["PATH"])
            if agent.command
            else callable_agent.argv(str(agent.callable))
        )
        done = subprocess.run(argv, env=environment, cwd=workspace, capture_output=True, text=True, timeout=60)
        exit_code, log = done.returncode, done.stdout + done.stderr
    migrations = {file.name: file.read_text() for file in sorted(migrations_dir.iterdir())}
    return Run(exit_code=exit_code, log=log, migrations=migrations, result=read_result(folder / "result.json"))


def measure(shop: str, experiment: Experiment = EXPERIMENT) -> dict[str, int]:
    with psycopg.connect(shop) as connection:
        return {name: _one(connection, query) for name, query in experiment.metrics.items()}


def checks(shop: str) -> dict[str, bool]:
    with psycopg.connect(shop) as connection:
        return {name: bool(_one(connection, query)) for name, query in EXPERIMENT.checks.items()}


def _one(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def apply_all(shop: str, migrations: Mapping[str, str]) -> list[MigrationOutcome]:
    """The migrations as the pipeline applies them, with rules to repair them and no language model."""
    with psycopg.connect(shop) as connection:
        return [
            apply_migration(connection, Migration(name=name, sql=text), fixers=RULES)
            for name, text in migrations.items()
        ]


def test_the_seeded_dirt_is_what_the_readme_says(template: tuple[str, str]) -> None:
    metrics = measure(template[0])
    assert metrics == {
        "duplicates": 1159,
        "orphans": 566,
        "malformed emails": 2743,
        "malformed phones": 6232,
        "unclear currencies": 7497,
        "contacts lost": 26,
    }
    readme = (SHOP / "README.md").read_text()
    for name in ("duplicates", "orphans", "malformed emails", "malformed phones", "unclear currencies"):
        assert f"{metrics[name]:,}" in readme, name
    assert set(checks(template[0]).values()) == {True}


def test_the_shop_belongs_to_an_ordinary_role(template: tuple[str, str]) -> None:
    with psycopg.connect(template[0]) as connection:
        row = connection.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        owners = connection.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert row == (False, False, False, False)
    assert owners == [(template[1],)]


def test_a_second_seeding_gives_the_same_rows(admin_url: str, template: tuple[str, str]) -> None:
    owner = f"shop_{uuid.uuid4().hex[:12]}"
    try:
        for _ in range(2):
            url = seed.create(admin_url, password="open-sesame", database=owner, owner=owner)
            seed.fill(url)
        assert _contents(url) == _contents(template[0])
    finally:
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(owner)))
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(owner)))


def _contents(url: str) -> list[object]:
    with psycopg.connect(url) as connection:
        query = sql.SQL("SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM {} AS t")
        return [connection.execute(query.format(sql.Identifier(table))).fetchone() for table in seed.TABLES]


def test_somebody_elses_database_is_never_replaced(admin_url: str, template: tuple[str, str]) -> None:
    with pytest.raises(SystemExit, match="belongs to postgres"):
        seed.create(admin_url, password="open-sesame", database="template1", owner=template[1])


def test_careful_cleans_everything_and_its_migrations_run_on_the_baseline(shop: str, tmp_path: Path) -> None:
    done = run("careful", shop, tmp_path)
    assert done.exit_code == 0, done.log
    metrics = measure(shop)
    assert metrics["malformed phones"] < 500
    assert {name for name, value in metrics.items() if value} == {"malformed phones", "contacts lost"}
    assert set(checks(shop).values()) == {True}
    assert done.result.metrics["decisions"] > 15_000
    assert len(done.migrations) == 3
    assert all(len(outcome.attempts) == 1 and outcome.applied for outcome in apply_all(shop, done.migrations))


def test_carefuls_migrations_need_none_of_its_row_edits(shop: str) -> None:
    module = _module(SHOP / "agents" / "careful.py")
    assert all(len(outcome.attempts) == 1 and outcome.applied for outcome in apply_all(shop, module.MIGRATIONS))


def test_repeats_of_an_agent_differ_by_their_seed_alone(admin_url: str, shop: str, tmp_path: Path) -> None:
    found = []
    for index, repeat in enumerate((1, 1, 2)):
        (tmp_path / str(index)).mkdir()
        copy = _copy_of(admin_url, shop)
        try:
            assert run("careful", copy, tmp_path / str(index), repeat).exit_code == 0
            found.append(measure(copy))
        finally:
            _drop(admin_url, copy)
    assert found[0] == found[1] != found[2]


def _copy_of(admin_url: str, url: str) -> str:
    parts = psycopg.conninfo.conninfo_to_dict(url)
    name = f"{parts['dbname']}_{uuid.uuid4().hex[:6]}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
        names = (sql.Identifier(str(part)) for part in (name, parts["dbname"], parts["user"]))
        admin.execute(statement.format(*names))
    return psycopg.conninfo.make_conninfo(url, dbname=name)


def _drop(admin_url: str, url: str) -> None:
    name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_hasty_passes_its_checks_but_is_worse_and_its_migrations_are_broken(shop: str, tmp_path: Path) -> None:
    done = run("hasty", shop, tmp_path)
    assert done.exit_code == 0, done.log
    metrics = measure(shop)
    assert metrics["duplicates"] == 0
    assert metrics["orphans"] > 566
    assert set(checks(shop).values()) == {True}
    assert done.result.metrics["decisions"] == 4
    repaired = apply_all(shop, done.migrations)
    assert [outcome.applied for outcome in repaired] == [True, True]
    for outcome, sqlstate in zip(repaired, ("42601", "42703"), strict=True):
        as_written, fixed = outcome.attempts
        assert as_written.error is not None
        assert (as_written.fixer, as_written.error.sqlstate) == ("none", sqlstate)
        assert fixed.fixer != "none"


def test_stubborn_insists_on_what_the_rows_do_not_allow(shop: str, tmp_path: Path) -> None:
    first, second = apply_all(shop, run("stubborn", shop, tmp_path).migrations)
    assert first.applied
    assert not second.applied
    assert [attempt.error.sqlstate for attempt in second.attempts if attempt.error] == ["23505"]


def test_crasher_fails_after_it_has_done_damage(shop: str, tmp_path: Path) -> None:
    done = run("crasher", shop, tmp_path)
    assert done.exit_code == 1
    assert "ZeroDivisionError" in done.log
    assert done.migrations == {}
    assert set(checks(shop).values()) == {True, False}
