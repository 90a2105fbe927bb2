from __future__ import annotations

import io
import os
import shutil
import socket
import tarfile
from pathlib import Path

import pytest

from orchestrator.errors import ForkyardError, UserError
from orchestrator.isolation.archive import pack_folder, unpack

LIMIT = 1_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "sub" / "deep").mkdir(parents=True)
    (source / "agent.py").write_text("print('ä')\n", encoding="utf-8")
    (source / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (source / "sub" / "run.sh").chmod(0o755)
    (source / "sub" / "deep" / "up").symlink_to("../../agent.py")
    (source / "empty").mkdir()
    return source


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_a_folder_comes_back_as_it_was(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    unpack(pack_folder(folder, limit_bytes=LIMIT), target, limit_bytes=LIMIT)
    assert (target / "agent.py").read_text(encoding="utf-8") == "print('ä')\n"
    assert os.access(target / "sub" / "run.sh", os.X_OK)
    assert not (target / "agent.py").stat().st_mode & 0o111
    assert (target / "sub" / "deep" / "up").resolve() == target.resolve() / "agent.py"
    assert (target / "empty").is_dir()


def test_the_same_folder_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    first = pack_folder(folder, limit_bytes=LIMIT)
    copy = shutil.copytree(folder, tmp_path / "copy", symlinks=True)
    for file in copy.rglob("*"):
        os.utime(file, (1, 1), follow_symlinks=False)
    (copy / "agent.py").chmod(0o600)
    assert pack_folder(copy, limit_bytes=LIMIT) == first
    (copy / "agent.py").write_text("other")
    assert pack_folder(copy, limit_bytes=LIMIT) != first


def test_what_is_no_agents_business_is_left_out(folder: Path) -> None:
    before = pack_folder(folder, limit_bytes=LIMIT)
    for name in (".git", "sub/__pycache__", ".forkyard"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("x")
    assert pack_folder(folder, limit_bytes=LIMIT) == before


def test_a_folder_over_the_limit_is_refused(folder: Path) -> None:
    (folder / "big").write_bytes(b"x" * 10_001)
    with pytest.raises(UserError, match="more than 10,000 bytes"):
        pack_folder(folder, limit_bytes=10_000)


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "sub/../../outside", "sub/../agent.py"])
def test_a_link_that_may_lead_out_is_refused(folder: Path, target: str) -> None:
    (folder / "link").symlink_to(target)
    with pytest.raises(UserError, match="copy the file instead"):
        pack_folder(folder, limit_bytes=LIMIT)


def test_what_is_no_file_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        with pytest.raises(UserError, match="neither a file"):
            pack_folder(folder, limit_bytes=LIMIT)


@pytest.mark.parametrize("name", ["absent", "agent.py"])
def test_a_folder_that_is_none_is_told(folder: Path, name: str) -> None:
    with pytest.raises(UserError, match="does not exist"):
        pack_folder(folder / name, limit_bytes=LIMIT)


@pytest.mark.parametrize(
    "files",
    [
        tar((member("../out"), b"x")),
        tar((member("/tmp/forkyard-out"), b"x")),
        tar((member("a/../../out"), b"x")),
        tar((member("link", tarfile.SYMTYPE, "/"), b"")),
        tar((member("link", tarfile.SYMTYPE, ".."), b"")),
        tar((member("d", tarfile.SYMTYPE, "."), b""), (member("e", tarfile.SYMTYPE, "d/../x"), b"")),
        tar((member("d/e", tarfile.SYMTYPE, "../.."), b"")),
        tar((member("hard", tarfile.LNKTYPE, "/etc/passwd"), b"")),
        tar((member("fifo", tarfile.FIFOTYPE), b"")),
        tar((member("device", tarfile.CHRTYPE), b"")),
        tar((member("link", tarfile.SYMTYPE, "."), b""), (member("link/file"), b"x")),
        tar((member("file"), b"1"), (member("file"), b"2")),
    ],
)
def test_an_unsafe_archive_writes_nothing_outside(files: bytes, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(ForkyardError):
        unpack(files, target, limit_bytes=LIMIT)
    assert [entry.name for entry in tmp_path.iterdir()] == ["target"]
    assert not Path("/tmp/forkyard-out").exists()


def test_a_bomb_is_stopped_before_it_is_written(tmp_path: Path) -> None:
    bomb = tar((member("zeros"), b"\0" * 2_000_000))
    with pytest.raises(ForkyardError, match="more than 1,000,000 bytes"):
        unpack(bomb, tmp_path, limit_bytes=LIMIT)
    assert list(tmp_path.iterdir()) == []
