"""Writes `.env` and `agents.env` for docker compose, readable by their owner alone.

`.env` gets a new random secret for every service. Neither file is ever overwritten: an installation whose key is
lost can no longer compute the passwords of its forks.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from pathlib import Path

HEADER = """\
# Secrets of this docker compose installation, and settings of your own. Keep this file: every fork's password is
# derived from FORKYARD_INSTALLATION_KEY.
"""
NAMES = (
    "FORKYARD_INSTALLATION_KEY",
    "FORKYARD_REGISTRY__PASSWORD",
    "FORKYARD_FORK_HOST__PASSWORD",
    "FORKYARD_BROKER__PASSWORD",
    "FORKYARD_FLOWER__PASSWORD",
    "POSTGRES_PASSWORD",
)
AGENTS = """\
# Variables of the container that runs agents, which a variant may pass on by name:
#   environment: {OPENAI_API_KEY: {env: OPENAI_API_KEY}}
# Nothing else of this container's environment reaches an agent.
"""


def render() -> str:
    """The text of `.env`. The values are URL-safe, so that they need no quoting in an address or a shell."""
    return HEADER + "".join(f"{name}={secrets.token_urlsafe(32)}\n" for name in NAMES)


def write_new(path: Path, text: str) -> None:
    """Creates `path` with mode 0600; raises FileExistsError rather than touch one that is there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def main(arguments: list[str]) -> int:
    """Writes into the folder named, or the current one. Exit code 2 when `.env` exists or cannot be written."""
    folder = Path(arguments[0]) if arguments else Path()
    path = folder / ".env"
    try:
        write_new(path, render())
        with contextlib.suppress(FileExistsError):
            write_new(folder / "agents.env", AGENTS)
    except FileExistsError:
        print(f"{path} exists and stays as it is: move it away first if you mean to start a new installation.")
        return 2
    except OSError as exc:
        print(f"{exc.filename} cannot be written: {exc.strerror}.")
        return 2
    print(f"Wrote {path} with {len(NAMES)} new secrets (mode 0600), and agents.env for what agents may see.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
