"""A folder as bytes and back: how an experiment's files travel from the submitter to a worker."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from orchestrator.errors import ForkyardError, UserError

_LEFT_OUT = frozenset({".git", ".forkyard", "__pycache__"})


def pack_folder(path: Path, *, limit_bytes: int) -> bytes:
    """The folder as a tar.gz that depends on names, contents and execute bits alone.

    `.git`, `.forkyard` and `__pycache__` are left out. Raises UserError for what is no folder, holds more than
    `limit_bytes`, cannot be read, or contains a link out of the folder or a thing that is no file.
    """
    if not path.is_dir():
        raise UserError(f"The folder {str(path)!r} does not exist.")
    buffer = io.BytesIO()
    total = 0
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=6, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for file in _walk(path):
            member = _member(file, root=path)
            total += member.size
            if total > limit_bytes:
                raise UserError(
                    f"The folder {str(path)!r} holds more than {limit_bytes:,} bytes; "
                    "leave out what agents do not need."
                )
            _add(archive, member, file)
    return buffer.getvalue()


def unpack(files: bytes, into: Path, *, limit_bytes: int) -> None:
    """Unpack what `pack_folder` made into an empty folder.

    Whatever the archive says, nothing is written outside of `into`: paths are checked, links are made last and
    may lead only inward, and other kinds of members are refused. Raises ForkyardError for such an archive.
    """
    links: list[tarfile.TarInfo] = []
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(files), mode="r:gz") as archive:
            for member in archive:
                target = into.joinpath(*_parts(member.name))
                total += member.size
                if total > limit_bytes:
                    raise ForkyardError(f"The experiment's files hold more than {limit_bytes:,} bytes.")
                if member.isdir():
                    target.mkdir(mode=0o700, parents=True, exist_ok=True)
                elif member.isreg():
                    _write(archive, member, target)
                elif member.issym():
                    links.append(member)
                else:
                    raise _unsafe(member.name)
        for link in links:
            _link(link, into)
    except (tarfile.TarError, OSError, EOFError) as exc:
        raise ForkyardError(f"The experiment's files cannot be unpacked: {exc}.") from exc


def _walk(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as exc:
        raise UserError(f"The folder {str(folder)!r} cannot be read: {exc.strerror}.") from exc
    for entry in entries:
        if entry.name in _LEFT_OUT:
            continue
        yield entry
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(entry)


def _member(file: Path, *, root: Path) -> tarfile.TarInfo:
    status = file.lstat()
    member = tarfile.TarInfo(file.relative_to(root).as_posix())
    member.mode = 0o755 if status.st_mode & 0o100 else 0o644
    if stat.S_ISLNK(status.st_mode):
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, str(file.readlink()), 0o777
        if not _leads_inward(member.name, member.linkname):
            raise UserError(
                f"{str(file)!r} is a link to {member.linkname!r}, out of the folder; copy the file instead."
            )
    elif stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISREG(status.st_mode):
        member.size = status.st_size
    else:
        raise UserError(f"{str(file)!r} is neither a file, a folder nor a link; take it out of the folder.")
    return member


def _add(archive: tarfile.TarFile, member: tarfile.TarInfo, file: Path) -> None:
    try:
        if not member.isreg():
            archive.addfile(member)
            return
        with file.open("rb") as content:
            archive.addfile(member, content)
    except OSError as exc:
        raise UserError(f"{str(file)!r} cannot be read: {exc.strerror or 'it changed meanwhile'}.") from exc


def _parts(name: str) -> tuple[str, ...]:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise _unsafe(name)
    return path.parts


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    content = archive.extractfile(member)
    if content is None:
        raise _unsafe(member.name)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = 0o700 if member.mode & 0o100 else 0o600
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(fd, "wb") as file:
        while piece := content.read(1 << 20):
            file.write(piece)


def _link(member: tarfile.TarInfo, into: Path) -> None:
    if not _leads_inward(member.name, member.linkname):
        raise _unsafe(member.name)
    place = into.joinpath(*_parts(member.name))
    if not place.parent.resolve().is_relative_to(into.resolve()):
        raise _unsafe(member.name)
    place.symlink_to(member.linkname)


def _leads_inward(name: str, target: str) -> bool:
    """Whether a relative link stays in the folder: it climbs at its beginning only, and not above the top."""
    path = PurePosixPath(target)
    climbs = next((index for index, part in enumerate(path.parts) if part != ".."), len(path.parts))
    return not path.is_absolute() and ".." not in path.parts[climbs:] and climbs < len(PurePosixPath(name).parts)


def _unsafe(name: str) -> ForkyardError:
    return ForkyardError(f"The experiment's files hold {name!r}, which leads out of the workspace; submit them again.")
