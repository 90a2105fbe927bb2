"""How much a folder holds."""

from __future__ import annotations

import os
from pathlib import Path


def folder_bytes(folder: Path, *, stop_above: int) -> int:
    """The bytes in all files below `folder`, what they fill on disk or what they claim, whichever is more.

    Links are not followed. What vanishes or cannot be read meanwhile is not counted; counting ends above
    `stop_above`, so that the answer to "too much?" stays cheap.
    """
    total = 0
    pending: list[str] = [str(folder)]
    while pending and total <= stop_above:
        try:
            entries = os.scandir(pending.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        total += max(status.st_size, status.st_blocks * 512)
                except OSError:
                    continue
    return total
