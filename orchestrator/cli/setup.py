"""init, upgrade."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.app.secrets_file import new_key, update_secrets
from orchestrator.cli.output import Json, call, emit, out
from orchestrator.errors import NotPossible
from orchestrator.settings import CONFIG_NAME, SECRETS_NAME
from orchestrator.store import upgrade as upgrade_registry

TEMPLATE = """\
# Forkyard's configuration. No secret belongs in here: passwords and the installation key are in
# {secrets} (mode 0600), or come from FORKYARD_* variables,
# such as FORKYARD_REGISTRY__PASSWORD. Every value below is the default, unless said.

# Where secrets, workspaces and logs live, relative to this file.
state_dir = ".forkyard"

# true: `forkyard up` runs a Postgres and a Valkey of its own and fills in their addresses.
embedded = {embedded}

[registry]
# Forkyard's own tables, in a Postgres database of their own. `forkyard upgrade` creates them.
{own}url = "postgresql://forkyard@127.0.0.1:5432/forkyard"

[broker]
# Redis or Valkey: append-only file on, maxmemory-policy noeviction.
{own}url = "redis://127.0.0.1:6379/0"

# Where forks live, for projects that name no --host: a login with CREATEDB and CREATEROLE.
# [fork_host]
# url = "postgresql://forkyard_host@127.0.0.1:5432/postgres"

[worker]
# lease_seconds = 60          a worker that is silent for so long has lost its run
# max_step_tries = 4          then a run whose step keeps dying fails
# log_limit_bytes = 10000000
# workspace_limit_bytes = 500000000
# process_limit = 256

[sweeps]
# expire_every_seconds = 21600    every 6 h ...
# older_than_seconds = 86400      ... forks older than 24 h that nothing needs
# rescue_every_seconds = 30
# prune_after_days = 30

# A language model for migrations that the rules cannot repair (any OpenAI-compatible endpoint).
# [llm]
# base_url = "http://127.0.0.1:8000/v1"
# model = "your-model"
"""


def add_to(app: typer.Typer) -> None:
    app.command("init")(init)
    app.command("upgrade")(upgrade)


def init(
    folder: Annotated[Path, typer.Argument(help="Where to write forkyard.toml.")] = Path(),
    embedded: Annotated[bool, typer.Option(help="For the embedded servers of `forkyard up`.")] = False,
    as_json: Json = False,
) -> None:
    """Write a commented forkyard.toml and a new installation key.

    Example: forkyard init --embedded && forkyard up
    """
    path = folder / CONFIG_NAME
    if path.exists():
        raise NotPossible(f"{path} exists already; it is left as it is.")
    write_config(path, embedded=embedded)
    data = {"config": str(path), "secrets": str(folder / ".forkyard" / SECRETS_NAME)}
    following = "forkyard up" if embedded else "edit it, then: forkyard upgrade"
    emit(data, as_json, lambda d: out.print(f"Wrote {d['config']} and {d['secrets']}. Next: {following}", markup=False))


def write_config(path: Path, *, embedded: bool) -> None:
    """The commented configuration, and a secrets file with a new key where there is none."""
    secrets = path.parent / ".forkyard" / SECRETS_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    own = "# " if embedded else ""
    text = TEMPLATE.format(embedded=str(embedded).lower(), own=own, secrets=f".forkyard/{SECRETS_NAME}")
    if not secrets.exists():
        update_secrets(secrets, {"installation_key": new_key()})
    path.write_text(text, encoding="utf-8")


def upgrade(as_json: Json = False) -> None:
    """Create or upgrade the registry's tables. Safe to repeat.

    Example: forkyard upgrade
    """
    done = upgrade_registry(call.settings().registry.conninfo())
    text = f"Applied {', '.join(done)}." if done else "The registry is up to date."
    emit({"applied": done}, as_json, lambda _: out.print(text, markup=False))
