"""What the `clone` provider needs of its fork host, looked at for `doctor` and before the first copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from orchestrator.errors import ForkyardError, PrivilegeMissing, SettingsError
from orchestrator.forks.base import Finding
from orchestrator.forks.host import Host, catalog_sql
from orchestrator.forks.names import short_installation
from orchestrator.pgtools import PgTools, find_pg_tools

_CLONING_FILE_SYSTEMS = frozenset({"xfs", "btrfs", "zfs", "apfs", "bcachefs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLogin:
    """The admin login and its server (`sql/host_login.sql`)."""

    login: str
    superuser: bool
    may_create_databases: bool
    may_create_roles: bool
    version: int
    data_directory: str | None
    can_clone_files: bool

    @property
    def lacks(self) -> str | None:
        """The attributes that the login needs and does not have, as ALTER ROLE spells them."""
        if self.superuser:
            return None
        wanted = {"CREATEDB": self.may_create_databases, "CREATEROLE": self.may_create_roles}
        return " ".join(name for name, has in wanted.items() if not has) or None


def require_privileges(conn: psycopg.Connection) -> None:
    """Raises PrivilegeMissing, with the statement that mends it, where the login could not make forks."""
    login = host_login(conn)
    if lacks := login.lacks:
        raise PrivilegeMissing(
            f'The login "{login.login}" of the fork host lacks {lacks.replace(" ", " and ")}: '
            f"{_fix(login, lacks).as_string(conn)}."
        )


def host_login(conn: psycopg.Connection) -> HostLogin:
    with conn.cursor(row_factory=class_row(HostLogin)) as cursor:
        found = cursor.execute(catalog_sql("host_login")).fetchone()
    assert found is not None
    return found


def findings(host: Host, installation: str, tools: PgTools | None) -> Iterator[Finding]:
    """Every check, in the order in which they depend on each other; stops where the host does not answer."""
    try:
        with host.session("look at the fork host") as conn:
            login = host_login(conn)
            open_databases = [name for (name,) in conn.execute(catalog_sql("open_to_everybody"))]
            fix = _fix(login, login.lacks).as_string(conn) if login.lacks else ""
    except ForkyardError as exc:
        yield Finding(subject="fork host", ok=False, detail=str(exc), fix="Correct the fork host's connection.")
        return
    version = f"{login.version // 10000}.{login.version % 10000}"
    yield Finding(subject="fork host", ok=True, detail=f"PostgreSQL {version} at {host.place()}")
    detail = f'"{login.login}" lacks {login.lacks}' if login.lacks else f'"{login.login}" may make databases and roles'
    yield Finding(subject="privileges", ok=not login.lacks, detail=detail, fix=fix)
    yield _copy_on_write(login)
    yield _passwords(host)
    yield _boundary(open_databases, installation)
    yield _client_programs(login, tools)


def _fix(login: HostLogin, lacks: str | None) -> sql.Composed:
    return sql.SQL("ALTER ROLE {} {}").format(
        sql.Identifier(login.login),
        sql.SQL(" ").join([sql.SQL(w) for w in (lacks or "").split()]),
    )


def _copy_on_write(login: HostLogin) -> Finding:
    """Slow copies work as well, so this is a remark, never a failure."""
    if not login.can_clone_files:
        detail = "plain copies: copy-on-write needs PostgreSQL 18"
        return Finding(subject="copy-on-write", ok=True, detail=detail, fix="Use PostgreSQL 18 or later.")
    kind = file_system(Path(login.data_directory)) if login.data_directory else None
    if kind is None:
        return Finding(subject="copy-on-write", ok=True, detail="used where the server's file system can clone files")
    if kind in _CLONING_FILE_SYSTEMS:
        return Finding(subject="copy-on-write", ok=True, detail=f"the data directory is on {kind}")
    detail = f"plain copies: the data directory is on {kind}, which cannot clone files"
    return Finding(subject="copy-on-write", ok=True, detail=detail, fix="Move the data directory to XFS or ZFS.")


def _passwords(host: Host) -> Finding:
    """A server that trusts anybody makes every fork's password worthless."""
    fix = "In pg_hba.conf, replace `trust` by `scram-sha-256`."
    try:
        host.connect_with_wrong_password().close()
    except psycopg.Error:
        return Finding(subject="passwords", ok=True, detail="a wrong password is refused")
    return Finding(subject="passwords", ok=False, detail="the fork host lets anybody in, without a password", fix=fix)


def _boundary(open_databases: list[str], installation: str) -> Finding:
    others = [name for name in open_databases if name not in ("template1",)]
    if not others:
        return Finding(subject="boundary", ok=True, detail="agents can connect to no database but their forks")
    pattern = f"/^fy_{short_installation(installation)}_f[0-9]+$"
    return Finding(
        subject="boundary",
        ok=True,
        detail=f"PUBLIC may connect to {', '.join(others)}, so agents may as well, unless pg_hba.conf says otherwise",
        fix=f"First lines of pg_hba.conf: host sameuser {pattern} all scram-sha-256, then "
        f"host all {pattern} all reject; or REVOKE CONNECT ON DATABASE … FROM PUBLIC.",
    )


def _client_programs(login: HostLogin, tools: PgTools | None) -> Finding:
    try:
        found = tools or find_pg_tools(minimum_major=login.version // 10000)
    except SettingsError as exc:
        return Finding(subject="pg_dump", ok=False, detail=str(exc), fix="Install PostgreSQL's client programs.")
    return Finding(subject="pg_dump", ok=True, detail=f"version {found.version[0]}.{found.version[1]}")


def file_system(path: Path) -> str | None:
    """The type of the file system that holds a local path, or None where that cannot be told."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
        if not path.is_dir():
            return None
    except OSError:
        return None
    kinds = {Path(fields[1]): fields[2] for line in mounts.splitlines() if len(fields := line.split()) > 2}
    return next((kinds[place] for place in (path, *path.parents) if place in kinds), None)
