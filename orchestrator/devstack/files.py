"""Folders and files that belong to the servers' account and nobody else."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.devstack.account import Account


def own_folder(path: Path, account: Account | None) -> None:
    """Make the folder, 0700 and owned by the account; its parent exists. One that exists is left as it is."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    path.chmod(0o700)
    if account is not None:
        os.chown(path, account.uid, account.gid)


def write_for(account: Account | None, path: Path, text: str) -> None:
    """Replace the file as a whole, 0600 and owned by the account.

    As root this writes into a folder that the account may change: never through a link that it planted there.
    """
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        if account is not None:
            os.fchown(descriptor, account.uid, account.gid)
    draft.replace(path)
