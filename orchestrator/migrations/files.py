"""Reading the migrations folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import MigrationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One SQL change as its author wrote it. `name` orders it among the run's others."""

    name: str
    sql: str


def read_folder(path: Path, *, limit_bytes: int = 16 * 1024 * 1024) -> tuple[Migration, ...]:
    """Every `*.sql` file directly in the folder, ordered as a person counts (2 before 10); () without a folder.

    Links, sub-folders and hidden files are left out: the folder belongs to an agent that is not trusted.
    Raises MigrationError for a file that is not UTF-8, holds a NUL, or is larger than the limit.
    """
    if not path.is_dir():
        return ()
    found = [p for p in path.iterdir() if p.suffix.lower() == ".sql" and not p.name.startswith(".")]
    files = [p for p in found if p.is_file() and not p.is_symlink()]
    return tuple(_read(p, limit_bytes) for p in sorted(files, key=lambda p: natural_key(p.name)))


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sorts names by their text with numbers compared as numbers; the name itself breaks ties."""
    parts = re.split(r"([0-9]+)", name.lower())
    return tuple((0, int(p), "") if i % 2 else (1, 0, p) for i, p in enumerate(parts) if p), name


def _read(path: Path, limit_bytes: int) -> Migration:
    with path.open("rb") as file:
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise MigrationError(
            f"The migration {path.name} is larger than {limit_bytes} bytes: split it.", migration=path.name
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise MigrationError(
            f"The migration {path.name} is not valid UTF-8 (byte {exc.start + 1}): save it as UTF-8.",
            migration=path.name,
        ) from exc
    if "\0" in text:
        raise MigrationError(
            f"The migration {path.name} holds a NUL character, which PostgreSQL cannot take.", migration=path.name
        )
    return Migration(name=path.name, sql=text)
