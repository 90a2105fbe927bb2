from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import pgtools
from orchestrator.errors import SettingsError


def client_programs(folder: Path, version: str, names: tuple[str, ...] = ("pg_dump", "pg_restore", "psql")) -> str:
    folder.mkdir()
    for name in names:
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    return str(folder)


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgtools, "wheel_bin_folder", lambda: None)


def test_the_wheel_brings_the_client_programs() -> None:
    tools = pgtools.find_pg_tools(path="")
    assert tools.version[0] >= 18
    assert tools.pg_dump.parent == tools.pg_restore.parent == tools.psql.parent == pgtools.wheel_bin_folder()


def test_the_newest_version_wins(tmp_path: Path) -> None:
    newest = client_programs(tmp_path / "b", "99.3 (Debian 99.3-1)")
    path = ":".join([client_programs(tmp_path / "a", "9.6.2"), newest, client_programs(tmp_path / "c", "99.2")])
    assert pgtools.find_pg_tools(path=path).pg_dump == tmp_path / "b" / "pg_dump"
    assert pgtools.find_pg_tools(path=path).version == (99, 3)


def test_a_beta_has_a_version_too(no_wheel: None, tmp_path: Path) -> None:
    assert pgtools.find_pg_tools(path=client_programs(tmp_path / "a", "19beta1")).version == (19, 0)


def test_incomplete_broken_and_relative_folders_are_passed_over(no_wheel: None, tmp_path: Path) -> None:
    incomplete = client_programs(tmp_path / "a", "99.1", ("pg_dump",))
    broken = client_programs(tmp_path / "b", "18.1")
    (tmp_path / "b" / "pg_dump").write_text("no program\n")
    with pytest.raises(SettingsError, match="install `forkyard"):
        pgtools.find_pg_tools(path=f"{incomplete}:{broken}:relative::/no/such/folder")


def test_programs_older_than_the_server_are_refused(no_wheel: None, tmp_path: Path) -> None:
    path = client_programs(tmp_path / "a", "17.4")
    assert pgtools.find_pg_tools(minimum_major=17, path=path).version == (17, 4)
    with pytest.raises(SettingsError, match="version 17, too old for a PostgreSQL 18 server"):
        pgtools.find_pg_tools(minimum_major=18, path=path)
