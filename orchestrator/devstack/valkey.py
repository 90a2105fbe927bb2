"""The embedded Valkey: password, append-only file, no eviction, loopback only."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Final

from orchestrator.devstack.account import Account
from orchestrator.devstack.files import own_folder, write_for
from orchestrator.devstack.ports import LOOPBACK
from orchestrator.devstack.processes import Record, StopPlan
from orchestrator.errors import StackError

_CONFIGURATION = """\
bind {host}
protected-mode yes
requirepass {password}
dir "{home}"
databases 1024
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
"""
_ANSWER_SECONDS = 2.0


class ValkeyServer:
    name: Final = "valkey"
    programs: Final = frozenset({"valkey-server"})
    stop: Final = StopPlan(steps=((signal.SIGTERM, 20.0),))

    def __init__(self, *, program: Path, home: Path, password: str, account: Account | None) -> None:
        self.home = home
        self._program = program
        self._password = password
        self._account = account

    def prepare(self) -> None:
        """Its folder and its configuration, which holds the password and is readable by its account alone."""
        own_folder(self.home, self._account)
        text = _CONFIGURATION.format(host=LOOPBACK, password=self._password, home=self.home)
        write_for(self._account, self._configuration, text)

    def argv(self, port: int) -> tuple[str, ...]:
        return (str(self._program), str(self._configuration), "--port", str(port))

    def is_ready(self, record: Record, port: int) -> bool:
        if not record.runs:
            return False
        try:
            with socket.create_connection((LOOPBACK, port), timeout=_ANSWER_SECONDS) as connection:
                connection.settimeout(_ANSWER_SECONDS)
                with connection.makefile("rwb") as stream:
                    stream.write(b"AUTH %b\r\nPING\r\n" % os.fsencode(self._password))
                    stream.flush()
                    authenticated, answer = stream.readline(), stream.readline()
        except OSError:
            return False
        if authenticated.startswith((b"-WRONGPASS", b"-ERR")):
            raise StackError(
                f"The Valkey on port {port} refuses the password kept for it: stop it with `forkyard down` "
                "and bring it up again."
            )
        return answer == b"+PONG\r\n"

    @property
    def _configuration(self) -> Path:
        return self.home / "valkey.conf"
