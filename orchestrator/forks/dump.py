"""pg_dump and pg_restore as subprocesses: passwords by environment, errors in our words."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from orchestrator.errors import (
    CapacityExceeded,
    ForkyardError,
    NotPossible,
    PrivilegeMissing,
    ProviderError,
    ProviderUnavailable,
    TargetUnreachable,
)
from orchestrator.pgtools import PgTools
from orchestrator.secrets import redact, split_password

_JOBS = "2"
_LOCK_SECONDS = 60

# Made beforehand by the admin (extensions), of no use in a copy (publications, subscriptions), or a way out of the
# fork: event triggers would run an agent's code as the admin, user mappings hold passwords of other servers.
_LEFT_OUT = re.compile(
    r"\d+; \d+ \d+ (?:(?:COMMENT|SECURITY LABEL|ACL) - )?"
    r"(?:EXTENSION|EVENT TRIGGER|USER MAPPING|PUBLICATION(?: TABLE| TABLES IN SCHEMA)?|SUBSCRIPTION(?: TABLE)?) "
)
_SCHEMA = re.compile(r"\d+; \d+ \d+ SCHEMA - (?P<name>\S+)")

_COMPLAINTS: tuple[tuple[str, type[ForkyardError], str], ...] = (
    ("permission denied", PrivilegeMissing, "Grant the login what is named there."),
    ("must be superuser", PrivilegeMissing, "The fork host's login must be a superuser for that object."),
    ("must be owner", PrivilegeMissing, "The fork host's login must be a superuser for that object."),
    ("row-level security", PrivilegeMissing, "ALTER ROLE … BYPASSRLS for the target's login."),
    ("server version mismatch", NotPossible, "Install PostgreSQL's client programs of the target's version."),
    ("No space left on device", CapacityExceeded, "Free space on that disk."),
    ("too many c", CapacityExceeded, "Raise max_connections there: a copy takes three connections."),
    ("lock timeout", ProviderUnavailable, "Another session keeps a table of the target locked; try again."),
    ("is not available", NotPossible, "Install that extension on the fork host."),
)
_MISSING_ROLE = re.compile(r'role "(?P<role>[^"]+)" does not exist')


def dump(source: str, folder: Path, tools: PgTools) -> None:
    """Write the database at `source` into `folder` (pg_dump's directory format), online and from one snapshot.

    Owners, privileges, and what refers to other servers stay out, and so does Forkyard's own schema.
    """
    arguments = ["--format=directory", f"--jobs={_JOBS}", f"--file={folder}", "--compress=0", "--no-owner"]
    arguments += ["--no-privileges", "--no-tablespaces", "--no-security-labels", "--no-publications"]
    arguments += ["--no-subscriptions", "--exclude-schema=forkyard", f"--lock-wait-timeout={_LOCK_SECONDS}s"]
    _run(tools.pg_dump, arguments, source, doing="copy the target", unreachable=TargetUnreachable)


def restore(host: str, folder: Path, tools: PgTools, *, role: str, made_schemas: Sequence[str]) -> None:
    """Fill the empty database at `host` from `folder`, everything owned by `role`.

    `made_schemas` exist there already (extensions live in them).
    """
    listing = _run(tools.pg_restore, ["--list", str(folder)], None, doing="read the copy of the target")
    wanted = folder.with_name(folder.name + ".list")
    wanted.write_text("\n".join(entries(listing, made_schemas)) + "\n", encoding="utf-8")
    arguments = [f"--role={role}", "--exit-on-error", f"--jobs={_JOBS}", "--no-owner", "--no-privileges"]
    arguments += [f"--use-list={wanted}", str(folder)]
    _run(tools.pg_restore, arguments, host, doing="fill the baseline")


def entries(listing: str, made_schemas: Sequence[str] = ()) -> Iterator[str]:
    """The lines of `pg_restore --list` that belong into a baseline."""
    for line in listing.splitlines():
        schema = _SCHEMA.match(line)
        if _LEFT_OUT.match(line) or (schema and schema["name"] in made_schemas):
            continue
        yield line


def complaint(text: str, *, doing: str, unreachable: type[ForkyardError]) -> ForkyardError:
    """The error of ours for what pg_dump or pg_restore wrote before it gave up."""
    errors = [line.partition("error: ")[2] for line in text.splitlines() if "error: " in line]
    said = redact(errors[0] if errors else text.strip().splitlines()[-1] if text.strip() else "it said nothing")
    if missing := _MISSING_ROLE.search(text):
        return NotPossible(
            f'Could not {doing}: it names the role "{missing["role"]}", which the fork host does not have: '
            f'CREATE ROLE "{missing["role"]}" NOLOGIN there.'
        )
    for piece, error, advice in _COMPLAINTS:
        if piece in text:
            return error(f"Could not {doing}: {said.rstrip('. ')}. {advice}")
    gone = "connection to server" in text or "server closed the connection" in text or "terminating" in text
    return (unreachable if gone else ProviderError)(f"Could not {doing}: {said.rstrip('. ')}.")


def _run(
    program: Path,
    arguments: Sequence[str],
    conninfo: str | None,
    *,
    doing: str,
    unreachable: type[ForkyardError] = ProviderUnavailable,
) -> str:
    address, environment = ([], _environment(None)) if conninfo is None else _address(conninfo)
    try:
        done = subprocess.run(
            [program, *address, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as exc:
        raise ProviderError(f"Could not {doing}: {program.name} does not start ({exc.strerror}).") from exc
    if done.returncode != 0:
        raise complaint(done.stderr, doing=doing, unreachable=unreachable)
    return done.stdout


def _address(conninfo: str) -> tuple[list[str], dict[str, str]]:
    """The connection as arguments and environment, so that no secret shows in the list of processes."""
    secret = {o.keyword.decode() for o in pq.Conninfo.get_defaults() if o.dispchar == b"*"} - {"password"}
    parts = conninfo_to_dict(conninfo)
    if told := sorted(secret & {key for key, value in parts.items() if value}):
        raise NotPossible(
            f'The connection string carries "{told[0]}", which cannot be handed to pg_dump without showing it: '
            "keep that secret in a file instead."
        )
    public, password = split_password(make_conninfo("", **{"connect_timeout": "10", **parts}))
    return [f"--dbname={public}"], _environment(password)


def _environment(password: str | None) -> dict[str, str]:
    """What libpq may look at, messages in English, and nothing else of the worker's environment."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LD_LIBRARY_PATH") or k.startswith("PG")}
    return {**kept, "LC_ALL": "C", **({"PGPASSWORD": password} if password else {})}
