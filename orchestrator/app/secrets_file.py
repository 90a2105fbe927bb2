"""The installation's secrets on disk: `<state_dir>/secrets.toml`, for its owner's eyes only."""

from __future__ import annotations

import json
import os
import secrets
import tomllib
from pathlib import Path
from typing import Any

from orchestrator.errors import SettingsError


def new_key() -> str:
    """An installation key: 256 random bits, URL-safe."""
    return secrets.token_urlsafe(32)


def update_secrets(path: Path, changes: dict[str, Any]) -> None:
    """Merge nested `changes` into the file (made with mode 0600 where missing), atomically."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        present = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        merged = _merged(present, changes)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("# Forkyard's secrets: keep this file private, and out of version control.\n")
            file.write("\n".join(_lines(merged)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as exc:
        raise SettingsError(f"{path} cannot be written: {exc.strerror}.") from None


def _merged(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    both = dict(left)
    for key, value in right.items():
        both[key] = _merged(both.get(key, {}), value) if isinstance(value, dict) else value
    return both


def _lines(table: dict[str, Any], path: str = "") -> list[str]:
    # JSON's string syntax is a subset of TOML's basic strings.
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for key, value in table.items():
        if isinstance(value, dict):
            name = f"{path}.{json.dumps(key)}" if path else key
            lines += ["", f"[{name}]", *_lines(value, name)]
    return lines
