from __future__ import annotations

import multiprocessing
import multiprocessing.synchronize
from pathlib import Path

import pytest

from orchestrator.devstack.state import Passwords, StackState, is_held, locked
from orchestrator.errors import StackError

STATE = StackState(data_dir=Path("/x/data"), account="nobody", disposable=True, ports={"postgres": 5})


def test_state_and_passwords_come_back_as_they_were_saved(tmp_path: Path) -> None:
    passwords = Passwords.generate()
    STATE.save(tmp_path / "stack.json")
    passwords.save(tmp_path / "passwords.json")
    assert StackState.load(tmp_path / "stack.json") == STATE
    assert Passwords.load(tmp_path / "passwords.json") == passwords
    assert (tmp_path / "passwords.json").stat().st_mode & 0o777 == 0o600
    assert passwords.postgres not in repr(passwords)
    assert Passwords.generate() != passwords


def test_what_was_never_saved_is_none(tmp_path: Path) -> None:
    assert StackState.load(tmp_path / "stack.json") is None
    assert Passwords.load(tmp_path / "passwords.json") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "\x00\xff",
        "[]",
        "{}",
        '{"version": 2}',
        '{"version": 1, "data_dir": "/x", "account": "a", "disposable": true, "ports": []}',
        '{"version": 1, "data_dir": "relative", "account": "a", "disposable": true, "ports": {}}',
        '{"version": 1, "data_dir": "/x", "account": "a", "disposable": true, "ports": {"postgres": "x"}}',
    ],
)
def test_a_damaged_state_file_names_itself_and_the_remedy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "stack.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(StackError, match=r"stack\.json.*damaged.*delete it and run `forkyard up`"):
        StackState.load(path)


@pytest.mark.parametrize("text", ["garbage", "{}", '{"postgres": 5, "valkey": "x"}'])
def test_a_damaged_password_file_names_itself_and_the_remedy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "passwords.json"
    path.write_text(text)
    with pytest.raises(StackError, match=r"passwords\.json.*damaged.*restore it"):
        Passwords.load(path)


def test_the_lock_is_refused_while_another_holds_it_and_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, timeout_seconds=1):
        assert is_held(path)
        with pytest.raises(StackError, match="Another command"), locked(path, timeout_seconds=0):
            raise AssertionError
    with locked(path, timeout_seconds=0):
        pass
    assert not is_held(path)
    assert not is_held(tmp_path / "never")


def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    holder = context.Process(target=_hold_forever, args=(tmp_path / "lock", held))
    holder.start()
    assert held.wait(60)
    assert is_held(tmp_path / "lock")
    holder.kill()
    holder.join()
    with locked(tmp_path / "lock", timeout_seconds=5):
        pass


def test_a_lock_whose_file_was_removed_protects_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, timeout_seconds=1):
        path.unlink()
        with locked(path, timeout_seconds=1):
            assert is_held(path)


def _hold_forever(path: Path, held: multiprocessing.synchronize.Event) -> None:
    with locked(path, timeout_seconds=5):
        held.set()
        multiprocessing.Event().wait()
