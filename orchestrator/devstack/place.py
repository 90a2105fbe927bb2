"""Where a stack keeps its data and takes its programs from: where the servers' account can get at them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.devstack.account import Account, can_enter
from orchestrator.devstack.binaries import Binaries
from orchestrator.errors import StackError

ELSEWHERE = Path("/var/lib/forkyard")
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The folders of one state folder. `elsewhere` is used only by root, for an account that cannot enter."""

    state_dir: Path

    @property
    def inside(self) -> Path:
        return self.state_dir / "data"

    @property
    def elsewhere(self) -> Path:
        return ELSEWHERE / hashlib.sha256(os.fsencode(self.state_dir)).hexdigest()[:16]

    def choose_data_dir(self, account: Account | None) -> Path:
        """Where data is already; else inside the state folder if the account can enter that; else elsewhere."""
        outside = self.elsewhere / "data"
        if holds_data(outside) or not can_enter(account, self.state_dir):
            return outside
        return self.inside

    def make_data_dir(self, data_dir: Path) -> None:
        """The folder above those of the servers: ours, with right of passage for the servers' account."""
        outer = [ELSEWHERE, self.elsewhere] if data_dir.is_relative_to(self.elsewhere) else []
        _make_passages(*outer, data_dir)

    def usable(self, binaries: Binaries, account: Account | None) -> Binaries:
        """The programs where they are if the account can run them there, else a copy that it can run."""
        if all(can_enter(account, each) for each in (binaries.postgres_bin / "initdb", binaries.valkey_server)):
            return binaries
        _make_passages(ELSEWHERE, self.elsewhere)
        return binaries.copied_to(self._programs)

    def notes(self, data_dir: Path, account: str) -> tuple[str, ...]:
        """What a person should know about places that they did not name."""
        notes = []
        if data_dir != self.inside:
            notes.append(f"The data is in {data_dir}, because the account '{account}' cannot enter {self.state_dir}.")
        if self._programs.is_dir():
            notes.append(
                f"The servers' programs were copied to {self._programs}, because the account '{account}' cannot "
                "run those of the installation."
            )
        return tuple(notes)

    def remove(self) -> None:
        """All that `up` made, besides the state folder itself unless it is empty then. Nothing may run."""
        for name in ("data", "processes", "logs"):
            _remove_folder(self.state_dir / name)
        for name in ("stack.json", "passwords.json", "lock"):
            (self.state_dir / name).unlink(missing_ok=True)
        if os.geteuid() == 0:
            _remove_folder(self.elsewhere)
            with contextlib.suppress(OSError):
                ELSEWHERE.rmdir()
        with contextlib.suppress(OSError):
            self.state_dir.rmdir()

    @property
    def _programs(self) -> Path:
        return self.elsewhere / "programs"


def holds_data(data_dir: Path) -> bool:
    """Whether a Postgres was initialised there."""
    try:
        return (data_dir / "postgres" / "PG_VERSION").exists()
    except PermissionError:
        return False


def _make_passages(*folders: Path) -> None:
    """Folders of our own, each inside the one before it, that the servers' account may pass through."""
    for tries_left in range(_TRIES, 0, -1):
        try:
            for folder in folders:
                _make_passage(folder)
            return
        except FileNotFoundError:
            # Another stack was the last one there and has just removed the folder that all share.
            if tries_left == 1:
                raise


def _make_passage(folder: Path) -> None:
    mode = 0o711 if os.geteuid() == 0 else 0o700
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=mode)
        folder.chmod(mode)
    if folder.lstat().st_uid != os.geteuid() or not folder.is_dir():
        raise StackError(f"{folder} is not a folder of our own: look at it, and move it out of the way.")


def _remove_folder(folder: Path) -> None:
    if folder.is_symlink():
        raise StackError(f"{folder} is a symbolic link; it is left alone: remove it yourself.")
    if folder.exists():
        shutil.rmtree(folder)
