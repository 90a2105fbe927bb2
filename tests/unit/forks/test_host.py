from __future__ import annotations

from importlib.resources import files

import pytest
from psycopg.conninfo import conninfo_to_dict

from orchestrator.errors import SettingsError
from orchestrator.forks.host import Host, catalog_sql


@pytest.fixture(autouse=True)
def _no_libpq_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("admin", "expected"),
    [
        (
            "postgresql://admin:secret@db.example:5433/postgres?sslmode=require&application_name=x",
            {"host": "db.example", "port": "5433", "sslmode": "require"},
        ),
        ("host=/run/postgresql user=admin", {"host": "/run/postgresql", "port": "5432"}),
        ("host=::1 port=5432 user=admin", {"host": "::1", "port": "5432"}),
        (
            "host=a,b port=1,2 user=admin target_session_attrs=read-write",
            {"host": "a,b", "port": "1,2", "target_session_attrs": "read-write"},
        ),
        ("user=admin options='-c work_mem=1MB'", {"port": "5432"}),
    ],
)
def test_another_logins_url_leads_to_the_same_server_and_holds_nothing_of_the_admin(
    admin: str, expected: dict[str, str]
) -> None:
    url = Host(admin).url(user="fy_x_f1", password="p/w@:é", database="fy_x_f1")
    assert conninfo_to_dict(url) == {"user": "fy_x_f1", "password": "p/w@:é", "dbname": "fy_x_f1", **expected}


def test_the_worker_knows_the_address_from_its_environment_and_the_agent_from_its_url(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGHOST", "db.example")
    monkeypatch.setenv("PGPORT", "6543")
    parts = conninfo_to_dict(Host("user=admin").url(user="a", password="b", database="c"))
    assert (parts["host"], parts["port"]) == ("db.example", "6543")


def test_the_server_in_words_holds_no_password() -> None:
    assert "secret" not in Host("postgresql://admin:secret@db:1/postgres").place()


def test_a_malformed_connection_string_is_one_sentence_without_the_string() -> None:
    with pytest.raises(SettingsError) as caught:
        Host("postgresql://admin:secret@db:1/postgres?nonsense")
    assert "secret" not in str(caught.value)


def test_static_sql_is_plain_ascii_so_that_any_database_can_read_it() -> None:
    names = [path.name.removesuffix(".sql") for path in (files("orchestrator.forks") / "sql").iterdir()]
    assert names
    assert all(catalog_sql(name).isascii() for name in names)
