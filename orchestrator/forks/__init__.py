"""How a database is copied: one file per provider behind the seam in `base.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path

from orchestrator.errors import SettingsError
from orchestrator.forks.base import Provider
from orchestrator.forks.clone import CloneProvider
from orchestrator.pgtools import PgTools

__all__ = ["BUILT_IN", "open_provider"]

BUILT_IN: Mapping[str, Callable[..., Provider]] = {CloneProvider.name: CloneProvider}
"""Every provider that comes with Forkyard, by name."""


def open_provider(
    name: str,
    *,
    host_conninfo: str,
    installation: str,
    key: bytes,
    scratch_dir: Path,
    tools: PgTools | None = None,
    connection_limit: int = 2,
) -> Provider:
    """The provider of that name; makes no connection yet.

    `host_conninfo`: the fork host's admin login. `installation`: the installation's UUID, which names and stamps
    carry; `key`: its secret, which passwords are derived from. `scratch_dir`: where a copy may rest on its way.
    `tools`: pg_dump and pg_restore, found by themselves where not given. `connection_limit`: sessions per agent.
    Raises SettingsError for an unknown name.
    """
    try:
        provider = BUILT_IN[name]
    except KeyError:
        near = get_close_matches(name, BUILT_IN, n=1)
        hint = f' did you mean "{near[0]}"?' if near else f" there are: {', '.join(sorted(BUILT_IN))}."
        raise SettingsError(f'There is no provider "{name}";{hint}') from None
    return provider(
        host_conninfo,
        installation=installation,
        key=key,
        scratch_dir=scratch_dir,
        tools=tools,
        connection_limit=connection_limit,
    )
