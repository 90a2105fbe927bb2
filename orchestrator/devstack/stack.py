"""The embedded stack as its callers see it: up, down, status, and processes beside the servers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from orchestrator.devstack import ports
from orchestrator.devstack.account import Account, own_name, server_account
from orchestrator.devstack.binaries import Binaries
from orchestrator.devstack.filesystem import describe_cloning
from orchestrator.devstack.place import Place, holds_data
from orchestrator.devstack.postgres import SUPERUSER, PostgresServer
from orchestrator.devstack.processes import Record, StopPlan, Supervisor, describe
from orchestrator.devstack.servers import BringUp, Server, end_strays
from orchestrator.devstack.state import Passwords, StackState, locked
from orchestrator.devstack.status import ServiceState, ServiceStatus, StackStatus
from orchestrator.devstack.valkey import ValkeyServer
from orchestrator.errors import StackError

_SERVERS: tuple[type[PostgresServer] | type[ValkeyServer], ...] = (PostgresServer, ValkeyServer)
_LOCK_SECONDS = 180.0


class Stack:
    """A Postgres and a Valkey of one's own, with all that belongs to them below one state folder.

    `account`: whom the servers run as where we are root (default: `forkyard` if it exists, else `nobody`).
    `disposable`: no fsync; what the first `up` of a state folder decides stays, until it is destroyed.
    Every method may be called by several processes at once. All raise StackError, with one sentence.
    """

    def __init__(self, state_dir: Path, *, account: str | None = None, disposable: bool = False) -> None:
        self.state_dir = Path(state_dir).absolute().resolve()
        self._account_name = account
        self._disposable = disposable
        self._place = Place(state_dir=self.state_dir)
        self._supervisor = Supervisor(self.state_dir / "processes", self.state_dir / "logs")

    def up(self, *, bound_to_caller: bool = False) -> StackStatus:
        """Both servers run and answer when this returns. Idempotent: what runs is reused.

        By default they outlive their caller. `bound_to_caller`: those that this call starts shut down when the
        calling thread ends, even by SIGKILL; call it from the main thread.
        """
        with self._changing("bring up"):
            account = server_account(self._account_name)
            state = self._decide(account)
            servers = self._servers(state, self._passwords(state), account)
            bring_up = BringUp(
                supervisor=self._supervisor,
                ports=state.ports,
                save_ports=lambda: state.save(self._state_file),
                account=account,
                bound_to_caller=bound_to_caller,
            )
            started = bring_up.run(servers)
        return replace(self.status(), started=started)

    def down(self, *, destroy: bool = False) -> StackStatus:
        """Stop all processes, then both servers. `destroy` also removes the data, logs and passwords for good.

        Idempotent; nothing to do where there is no stack.
        """
        if not self.state_dir.exists():
            return self.status()
        with self._changing("take down"):
            data_dirs = self._data_dirs(tolerant=destroy)
            servers = frozenset(each.name for each in _SERVERS)
            self._supervisor.stop(each.name for each in self._supervisor.records() if each.name not in servers)
            self._supervisor.stop(servers)
            for data_dir in data_dirs:
                for kind in _SERVERS:
                    end_strays(kind.name, data_dir / kind.name, kind.programs)
            if destroy:
                self._place.remove()
        return self.status()

    def status(self) -> StackStatus:
        """What is there now; changes nothing and waits for nobody."""
        state = StackState.load(self._state_file)
        data_dir = state.data_dir if state else self._place.inside
        records = {record.name: record for record in self._supervisor.records()}
        names = [each.name for each in _SERVERS]
        names += [name for name in records if name not in names]
        account = state.account if state else self._account_name or own_name()
        return StackStatus(
            state_dir=self.state_dir,
            data_dir=data_dir,
            account=account,
            cloning=describe_cloning(data_dir) if data_dir.is_dir() else "not known before the first `up`",
            disposable=state.disposable if state else self._disposable,
            services=tuple(_describe(name, records.get(name), state) for name in names),
            notes=self._place.notes(data_dir, account) if state else (),
        )

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
        log_path: Path | None = None,
        address: str = "",
        stop: StopPlan | None = None,
        bound_to_caller: bool = False,
    ) -> ServiceStatus:
        """Run one more process under the stack, as ourselves; one of that name that runs already is reused.

        `argv[0]` is an absolute path, `env` its whole environment, `address` only for display.
        """
        if name in (each.name for each in _SERVERS):
            raise StackError(f"'{name}' is a server of the embedded stack: give the process another name.")
        with self._changing(f"start {name} in"):
            record = self._supervisor.start(
                name,
                argv,
                env=env,
                cwd=cwd or Path("/"),
                log_path=log_path,
                address=address,
                bound_to_caller=bound_to_caller,
                stop=stop,
            )
        return describe(record)

    def stop(self, name: str) -> None:
        """End that process with all it started; nothing to do where there is none."""
        if self.state_dir.exists():
            with self._changing(f"stop {name} in"):
                self._supervisor.stop([name])

    def postgres_url(self, dbname: str = "postgres") -> str:
        """The superuser's URL, password included."""
        state, passwords = self._known()
        port = state.ports[PostgresServer.name]
        return f"postgresql://{SUPERUSER}:{passwords.postgres}@{ports.LOOPBACK}:{port}/{quote(dbname, safe='')}"

    def valkey_url(self, db: int = 0) -> str:
        """The default user's URL, password included."""
        state, passwords = self._known()
        return f"redis://:{passwords.valkey}@{ports.LOOPBACK}:{state.ports[ValkeyServer.name]}/{db}"

    @property
    def _state_file(self) -> Path:
        return self.state_dir / "stack.json"

    @property
    def _password_file(self) -> Path:
        return self.state_dir / "passwords.json"

    @contextlib.contextmanager
    def _changing(self, doing: str) -> Iterator[None]:
        """Under the lock, in a state folder of our own; failures of the system as a StackError."""
        if sys.platform != "linux":
            raise StackError(
                "The embedded stack runs on Linux only: use `docker compose up`, or name your own servers."
            )
        try:
            self._make_state_dir()
            with locked(self.state_dir / "lock", timeout_seconds=_LOCK_SECONDS):
                yield
        except (OSError, subprocess.SubprocessError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            where = f" ({exc.filename})" if isinstance(exc, OSError) and exc.filename else ""
            raise StackError(f"Could not {doing} the stack in {self.state_dir}: {reason}{where}.") from exc

    def _make_state_dir(self) -> None:
        if not self.state_dir.exists():
            self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.state_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)
        if not self.state_dir.is_dir():
            raise StackError(f"{self.state_dir} is not a folder: name another state folder.")
        if self.state_dir.stat().st_uid != os.geteuid():
            raise StackError(
                f"The state folder {self.state_dir} belongs to another account than '{own_name()}': "
                "run the command as that account, or name another folder."
            )

    def _decide(self, account: Account | None) -> StackState:
        """What an earlier `up` decided, or the decisions of a first one, saved before anything is made."""
        name = account.name if account else own_name()
        state = StackState.load(self._state_file)
        if state is None:
            state = StackState(
                data_dir=self._place.choose_data_dir(account),
                account=name,
                disposable=self._disposable,
                ports={},
            )
            state.save(self._state_file)
        elif state.account != name:
            raise StackError(
                f"The stack in {self.state_dir} was made for the account '{state.account}', not '{name}': "
                "name that account, or remove the stack with `forkyard down --destroy`."
            )
        self._place.make_data_dir(state.data_dir)
        return state

    def _passwords(self, state: StackState) -> Passwords:
        passwords = Passwords.load(self._password_file)
        if passwords is None:
            if holds_data(state.data_dir):
                raise StackError(
                    f"The password file {self._password_file} is gone, though there is data: restore it from a copy, "
                    "or remove the stack with `forkyard down --destroy`."
                )
            passwords = Passwords.generate()
            passwords.save(self._password_file)
        return passwords

    def _servers(self, state: StackState, passwords: Passwords, account: Account | None) -> tuple[Server, ...]:
        """Valkey first: it comes up while Postgres is being initialised."""
        binaries = self._place.usable(Binaries.locate(), account)
        valkey = ValkeyServer(
            program=binaries.valkey_server,
            home=state.data_dir / ValkeyServer.name,
            password=passwords.valkey,
            account=account,
        )
        postgres = PostgresServer(
            bin_folder=binaries.postgres_bin,
            home=state.data_dir / PostgresServer.name,
            password=passwords.postgres,
            account=account,
            disposable=state.disposable,
        )
        return (valkey, postgres)

    def _data_dirs(self, *, tolerant: bool) -> tuple[Path, ...]:
        """Where servers of ours may work. `tolerant`: a damaged state file does not stop a removal."""
        try:
            state = StackState.load(self._state_file)
        except StackError:
            if not tolerant:
                raise
            state = None
        return (state.data_dir,) if state else (self._place.inside, self._place.elsewhere / "data")

    def _known(self) -> tuple[StackState, Passwords]:
        state, passwords = StackState.load(self._state_file), Passwords.load(self._password_file)
        if state is None or passwords is None or not all(each.name in state.ports for each in _SERVERS):
            raise StackError(f"There is no embedded stack in {self.state_dir} yet: run `forkyard up`.")
        return state, passwords


def _describe(name: str, record: Record | None, state: StackState | None) -> ServiceStatus:
    if record is not None:
        return describe(record)
    port = state.ports.get(name) if state else None
    address = f"{ports.LOOPBACK}:{port}" if port else ""
    return ServiceStatus(name=name, state=ServiceState.STOPPED, address=address)
