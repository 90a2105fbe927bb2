"""Whom the servers run as: ourselves, or an unprivileged account where we are root (Postgres refuses root)."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import StackError

_CANDIDATES = ("forkyard", "nobody")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account to drop to. Its supplementary groups are dropped too."""

    name: str
    uid: int
    gid: int


def server_account(name: str | None) -> Account | None:
    """The account named, or the first that exists of `forkyard` and `nobody`; None where no drop is needed.

    Raises StackError for an unknown account, for root, and where only root could change to it.
    """
    if os.geteuid() != 0:
        if name is not None and name != own_name():
            raise StackError(f"Only root can run the embedded servers as '{name}': leave the account out.")
        return None
    for candidate in (name,) if name else _CANDIDATES:
        try:
            entry = pwd.getpwnam(candidate)
        except KeyError:
            continue
        if entry.pw_uid == 0:
            raise StackError(f"Postgres refuses to run as '{candidate}', which is root: name another account.")
        return Account(name=candidate, uid=entry.pw_uid, gid=entry.pw_gid)
    wanted = f"'{name}'" if name else " or ".join(f"'{each}'" for each in _CANDIDATES)
    raise StackError(f"As root the embedded servers need an account to run as, but there is no {wanted}: create it.")


def own_name() -> str:
    """The name of the account that we run as; its number where it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def can_enter(account: Account | None, path: Path) -> bool:
    """Whether the account can reach `path` and search (a folder) or run (a program) it; tried, not computed."""
    if account is None:
        return os.access(path, os.X_OK)
    probe = subprocess.run(
        ["/usr/bin/env", "test", "-x", path],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        timeout=30,
        check=False,
    )
    return probe.returncode == 0
