"""What a stack remembers between two commands: places and ports, passwords (0600), and a lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from orchestrator.errors import StackError

_VERSION = 1
_LOCK_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """Decided at the first `up`, then kept; ports alone may change, when somebody else took them."""

    data_dir: Path
    account: str
    disposable: bool
    ports: dict[str, int]

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """None where there is no such file. Raises StackError for one that makes no sense."""
        remedy = "delete it and run `forkyard up`, which finds the data again"
        fields = read_json(path, remedy=remedy)
        if fields is None:
            return None
        try:
            if fields["version"] != _VERSION:
                raise ValueError(f"it is of version {fields['version']!r}, not {_VERSION}")
            data_dir, account, disposable = fields["data_dir"], fields["account"], fields["disposable"]
            ports = {str(name): int(port) for name, port in fields["ports"].items()}
            if not (isinstance(account, str) and isinstance(disposable, bool) and Path(data_dir).is_absolute()):
                raise ValueError("a field has the wrong type")
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            what = f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)
            raise StackError(f"The state file {path} is damaged ({what}): {remedy}.") from exc
        return cls(data_dir=Path(data_dir), account=account, disposable=disposable, ports=ports)

    def save(self, path: Path) -> None:
        write_json(path, {"version": _VERSION, **asdict(self), "data_dir": str(self.data_dir)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Passwords:
    """Generated once. Only characters that need no quoting in a URL or a configuration file."""

    postgres: str
    valkey: str

    @classmethod
    def generate(cls) -> Self:
        return cls(postgres=secrets.token_hex(24), valkey=secrets.token_hex(24))

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """None where there is no such file. Raises StackError for one that makes no sense."""
        remedy = "restore it from a copy, or remove the stack with `forkyard down --destroy`"
        fields = read_json(path, remedy=remedy)
        if fields is None:
            return None
        if not (isinstance(fields.get("postgres"), str) and isinstance(fields.get("valkey"), str)):
            raise StackError(f"The password file {path} is damaged: {remedy}.")
        return cls(postgres=fields["postgres"], valkey=fields["valkey"])

    def save(self, path: Path) -> None:
        write_json(path, asdict(self))

    def __repr__(self) -> str:
        return "Passwords(***)"


def read_json(path: Path, *, remedy: str) -> dict[str, Any] | None:
    """The object in a JSON file, or None where there is no file. Raises StackError for anything else."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StackError(f"The file {path} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise StackError(f"The file {path} is damaged (not JSON): {remedy}.") from exc
    if not isinstance(content, dict):
        raise StackError(f"The file {path} is damaged (not a JSON object): {remedy}.")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace the file as a whole, readable by its owner alone; a crash leaves the old one or the new one."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


@contextlib.contextmanager
def locked(path: Path, *, timeout_seconds: float) -> Iterator[None]:
    """Hold the stack's lock; it ends with its holder, however that ends. Raises StackError after the time."""
    deadline = time.monotonic() + timeout_seconds
    while (descriptor := _try_lock(path)) is None:
        if time.monotonic() >= deadline:
            raise StackError(f"Another command is changing the embedded stack ({path} is locked): wait for it to end.")
        time.sleep(_LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether some process, perhaps in another container, holds the lock on that file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _try_lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # `down(destroy=True)` removes the file: a lock on a removed file protects nothing.
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
