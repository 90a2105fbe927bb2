"""An XFS with shared blocks, mounted from a file; for benchmarks that run as root."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNS = 0x00020000


@contextmanager
def loop_mounted_xfs(folder: Path, *, gigabytes: int) -> Iterator[Path | str]:
    """The mount point (a new folder below `folder`), or the reason why there is none.

    The file is sparse and unlinked once it is mounted, and the mount lives in a mount namespace of this process and
    its children: even after SIGKILL nothing stays but an empty folder.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    program = shutil.which("mkfs.xfs", path=path)
    if os.geteuid() != 0 or program is None:
        yield "not measured: " + ("needs root" if os.geteuid() != 0 else "mkfs.xfs is not installed")
        return
    image, point = folder / "xfs.img", folder / "xfs"
    point.mkdir()
    try:
        with image.open("wb") as file:
            file.truncate(gigabytes * 1024**3)
        _own_mount_namespace()
        _run(program, "-q", "-m", "reflink=1", str(image))
        _run("mount", "-o", "loop", str(image), str(point))
    except (OSError, subprocess.CalledProcessError) as exc:
        image.unlink(missing_ok=True)
        yield f"not measured: {getattr(exc, 'stderr', '') or exc}".strip()
        return
    image.unlink()
    try:
        point.chmod(0o711)
        yield point
    finally:
        if subprocess.run(["umount", str(point)], check=False).returncode:
            subprocess.run(["umount", "--lazy", str(point)], check=False)


def _own_mount_namespace() -> None:
    """Mounts of this process are seen by nobody else, and go with it. Not everywhere allowed: then without."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) == 0:
        _run("mount", "--make-rprivate", "/")


def _run(*arguments: str) -> None:
    subprocess.run(arguments, check=True, capture_output=True, text=True)
