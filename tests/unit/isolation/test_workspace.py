from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orchestrator.errors import ForeignResource, ForkyardError, ProviderError
from orchestrator.isolation import workspace
from orchestrator.isolation.archive import pack_folder

NAME = "fy_0a1b2c3d_f7"


@pytest.fixture
def files(tmp_path: Path) -> bytes:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "agent.py").write_text("print(1)\n")
    return pack_folder(folder, limit_bytes=1_000_000)


def test_a_workspace_holds_the_files_and_is_private(tmp_path: Path, files: bytes) -> None:
    made = workspace.create(tmp_path / "root", NAME, files)
    assert made == tmp_path / "root" / NAME
    assert (made / "agent.py").read_text() == "print(1)\n"
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert (made / "tmp").is_dir()
    assert workspace.migrations_dir(made).is_dir()
    assert workspace.result_path(made).parent.is_dir()
    assert not workspace.result_path(made).exists()
    assert workspace.present(tmp_path / "root", NAME)


def test_creating_twice_starts_afresh(tmp_path: Path, files: bytes) -> None:
    made = workspace.create(tmp_path, NAME, files)
    (made / "left-over").write_text("x")
    (made / "agent.py").write_text("changed")
    workspace.create(tmp_path, NAME, files)
    assert not (made / "left-over").exists()
    assert (made / "agent.py").read_text() == "print(1)\n"


def test_destroying_twice_leaves_nothing(tmp_path: Path) -> None:
    workspace.create(tmp_path, NAME, None)
    for _ in range(2):
        workspace.destroy(tmp_path, NAME)
        assert workspace.verify_empty(tmp_path, NAME)


def test_a_workspace_that_its_agent_closed_and_dug_deep_is_removed(tmp_path: Path) -> None:
    made = workspace.create(tmp_path, NAME, None)
    (made / "closed" / "inner").mkdir(parents=True)
    (made / "closed" / "inner" / "file").write_text("x")
    (made / "closed" / "inner").chmod(0)
    (made / "closed").chmod(0)
    here = os.open(made, os.O_RDONLY)
    for _ in range(3_000):
        os.mkdir("a-rather-long-name-of-a-folder", dir_fd=here)
        deeper = os.open("a-rather-long-name-of-a-folder", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    workspace.destroy(tmp_path, NAME)
    assert list(tmp_path.iterdir()) == []


def test_links_in_a_workspace_are_removed_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    made = workspace.create(tmp_path / "root", NAME, None)
    (made / "link").symlink_to(precious)
    (made / "folder").mkdir()
    (made / "folder" / "link").symlink_to(precious)
    workspace.destroy(tmp_path / "root", NAME)
    assert (precious / "file").exists()


def test_a_link_in_the_place_of_a_workspace_is_removed_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / NAME).symlink_to(precious)
    workspace.destroy(tmp_path, NAME)
    assert precious.is_dir()
    assert not workspace.present(tmp_path, NAME)


@pytest.mark.parametrize("name", ["", "..", ".", "fy_a/../../x", "/etc", "data", "FY_A", "fy_", "fy_a b", "fy_a\n"])
def test_a_name_that_is_not_ours_is_never_touched(tmp_path: Path, name: str) -> None:
    for call in (workspace.destroy, workspace.present, workspace.verify_empty):
        with pytest.raises(ForeignResource):
            call(tmp_path, name)
    with pytest.raises(ForeignResource):
        workspace.create(tmp_path, name, None)
    with pytest.raises(ForeignResource):
        workspace.resource(name)


def test_the_sweep_sees_our_names_alone(tmp_path: Path) -> None:
    workspace.create(tmp_path, NAME, None)
    (tmp_path / "notes").mkdir()
    assert workspace.names(tmp_path) == {NAME}
    assert workspace.names(tmp_path / "absent") == frozenset()


def test_files_that_are_damaged_are_told(tmp_path: Path, files: bytes) -> None:
    for damaged in (b"", b"no archive", files[: len(files) // 2]):
        with pytest.raises(ForkyardError, match="cannot be unpacked"):
            workspace.create(tmp_path / "root", NAME, damaged)


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file in the way")
    with pytest.raises(ProviderError, match="cannot be made"):
        workspace.create(tmp_path / "root", NAME, None)
