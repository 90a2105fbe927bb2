"""The workspace: one folder per environment, private to it, with the experiment's files in it.

<root>/<name>/                      the agent's current folder and HOME
<root>/<name>/tmp/                  its TMPDIR
<root>/<name>/.forkyard/migrations/ FORKYARD_MIGRATIONS_DIR
<root>/<name>/.forkyard/result.json FORKYARD_RESULT
"""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from pathlib import Path

from orchestrator.errors import ProviderError
from orchestrator.isolation.archive import unpack
from orchestrator.isolation.base import SideResource, check_name, is_ours

KIND = "workspace"
_FILES_LIMIT_BYTES = 1 << 30


def create(root: Path, name: str, files: bytes | None, *, limit_bytes: int = _FILES_LIMIT_BYTES) -> Path:
    """Make the workspace of an environment and unpack `files` (`archive.pack_folder`) into it; its path.

    May run twice: a workspace of that name is replaced, half-made or used. Raises ProviderError where the disk
    refuses, ForkyardError for files that are damaged or unsafe.
    """
    destroy(root, name)
    workspace = _path(root, name)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        workspace.mkdir(mode=0o700)
        if files is not None:
            unpack(files, workspace, limit_bytes=limit_bytes)
        (workspace / "tmp").mkdir(mode=0o700, exist_ok=True)
        migrations_dir(workspace).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ProviderError(f"The workspace {workspace} cannot be made: {exc.strerror}.", name=name) from exc
    return workspace


def migrations_dir(workspace: Path) -> Path:
    """Where the agent leaves its migrations."""
    return workspace / ".forkyard" / "migrations"


def result_path(workspace: Path) -> Path:
    """Where the agent leaves its metrics and notes."""
    return workspace / ".forkyard" / "result.json"


def destroy(root: Path, name: str) -> None:
    """Remove the workspace and all that is in it; nothing to do if it is gone.

    Folders that the agent closed to itself or nested deeply are removed as well; links are removed, not followed.
    Raises ProviderError where something cannot be removed, ForeignResource for a name that is not ours.
    """
    workspace = _path(root, name)
    try:
        if workspace.is_symlink() or workspace.is_file():
            workspace.unlink()
        elif workspace.exists():
            _remove(workspace)
    except OSError as exc:
        raise ProviderError(f"The workspace {workspace} cannot be removed: {exc}.", name=name) from exc


def present(root: Path, name: str) -> bool:
    """Whether anything of that name exists."""
    return os.path.lexists(_path(root, name))


def verify_empty(root: Path, name: str) -> bool:
    """Whether nothing is left of the workspace: the proof for a receipt."""
    return not present(root, name)


def resource(name: str) -> SideResource:
    """What an intent and a receipt list for the workspace of that name."""
    return SideResource(kind=KIND, name=check_name(name))


def names(root: Path) -> frozenset[str]:
    """Every workspace below `root`, for the sweep of orphans; other entries are not ours to name."""
    if not root.is_dir():
        return frozenset()
    return frozenset(entry.name for entry in root.iterdir() if is_ours(entry.name))


def _path(root: Path, name: str) -> Path:
    return root / check_name(name)


def _remove(folder: Path) -> None:
    """Remove a folder of any depth: sub-folders are first moved up, so that no path and no recursion gets deep."""
    _open_up(folder)
    while folders := [entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]:
        for outer in folders:
            _open_up(Path(outer.path))
            for inner in [entry for entry in os.scandir(outer.path) if entry.is_dir(follow_symlinks=False)]:
                _open_up(Path(inner.path))
                Path(inner.path).rename(folder / f"moved-up-{uuid.uuid4().hex}")
            shutil.rmtree(outer.path)
    shutil.rmtree(folder)


def _open_up(folder: Path) -> None:
    """Renaming and emptying a folder need all rights to it, which its owner can take back."""
    if stat.S_IMODE(folder.lstat().st_mode) & 0o700 != 0o700:
        folder.chmod(0o700)
