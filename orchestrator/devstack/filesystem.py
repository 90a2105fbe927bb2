"""What the file system below the data folder can do for forks."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_FICLONE = 0x40049409


def can_clone(folder: Path) -> bool:
    """Whether files in `folder` can share blocks until one is written to; tried with two temporary files."""
    try:
        with tempfile.TemporaryFile(dir=folder) as source, tempfile.TemporaryFile(dir=folder) as copy:
            source.write(b"\0" * 65536)
            source.flush()
            fcntl.ioctl(copy.fileno(), _FICLONE, source.fileno())
            return True
    except OSError:
        return False


def filesystem_type(folder: Path) -> str:
    """The name of the file system that holds `folder` ("xfs", "ext4", …); "unknown" where it cannot be told."""
    resolved = folder.resolve()
    best_length, best = -1, "unknown"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return best
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(_unescape(before.split()[4]))
        # A later mount on the same point hides the earlier one, hence >=.
        if resolved.is_relative_to(point) and len(point.parts) >= best_length:
            best_length, best = len(point.parts), after.split()[0]
    return best


def describe_cloning(folder: Path) -> str:
    """How a fork in `folder` is copied: "copy-on-write (xfs)" or "plain copy (ext4)"."""
    way = "copy-on-write" if can_clone(folder) else "plain copy"
    return f"{way} ({filesystem_type(folder)})"


def set_small_copy_unit(folder: Path) -> bool:
    """On XFS: let a write to a shared block copy 8 kB (one page of Postgres) instead of 128 kB.

    Inherited by what is created below `folder`. Returns False where it cannot be set; that costs disk only.
    """
    program = shutil.which("xfs_io", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")))
    if program is None:
        return False
    try:
        done = subprocess.run([program, "-c", "cowextsize 8k", folder], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and not done.stderr


def _unescape(text: str) -> str:
    """Mount points write space, tab, newline and backslash as octal."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
