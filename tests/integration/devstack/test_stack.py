from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from orchestrator.devstack import ServiceState, Stack, StackStatus, procfs
from orchestrator.devstack.place import ELSEWHERE
from orchestrator.devstack.state import is_held
from orchestrator.errors import StackError
from orchestrator.forks.names import resource_name

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new folder that every account can enter."""
    made = Path(tempfile.mkdtemp(prefix="forkyard-stack-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def new_stack(folder: Path) -> Iterator[Stack]:
    made = Stack(folder / "stack", disposable=True)
    yield made
    made.down(destroy=True)
    assert not made.state_dir.exists()
    assert works_below(folder) == []


@pytest.fixture(scope="session")
def initialised() -> Iterator[Path]:
    """The state folder of a stack that was up once; its data and passwords spare others the initialisation."""
    made = Path(tempfile.mkdtemp(prefix="forkyard-seed-"))
    made.chmod(0o711)
    seed = Stack(made / "stack", disposable=True)
    seed.up()
    seed.down()
    yield seed.state_dir
    shutil.rmtree(made)


@pytest.fixture
def stack(new_stack: Stack, initialised: Path) -> Stack:
    """A stack that has data already."""
    (new_stack.state_dir / "data").mkdir(parents=True)
    for each in ("passwords.json", "data/postgres"):
        subprocess.run(["cp", "-a", "--reflink=auto", initialised / each, new_stack.state_dir / each], check=True)
    return new_stack


def works_below(folder: Path) -> list[str]:
    """The command lines of all processes that work below the folder or name it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in command or (process / "cwd").readlink().is_relative_to(folder):
                found.append(command)
        except OSError:
            continue
    return found


def pids(status: StackStatus) -> dict[str, int]:
    found = {each.name: each.pid for each in status.services}
    assert None not in found.values()
    return {name: pid for name, pid in found.items() if pid is not None}


def kill(pid: int) -> None:
    """SIGKILL, and wait until it is gone (it is no child of ours)."""
    process = procfs.process_id(pid)
    assert process is not None
    procfs.send(process, signal.SIGKILL)
    assert procfs.wait_until(lambda: not procfs.is_running(process), 10)


def query(stack: Stack, text: str) -> object:
    with psycopg.connect(stack.postgres_url(), autocommit=True) as connection:
        row = connection.execute(text.encode()).fetchone()
    return row[0] if row else None


def execute(stack: Stack, text: str) -> None:
    with psycopg.connect(stack.postgres_url(), autocommit=True) as connection:
        connection.execute(text.encode())


def test_up_serves_both_and_a_second_up_changes_nothing(new_stack: Stack) -> None:
    first = new_stack.up()
    assert first.running
    assert set(first.started) == {"postgres", "valkey"}
    assert [each.name for each in first.services] == ["postgres", "valkey"]
    assert query(new_stack, "SELECT 1") == 1
    with redis.Redis.from_url(new_stack.valkey_url(db=7)) as client:
        assert client.set("a", "b") is True
    second = new_stack.up()
    assert second.started == ()
    assert pids(second) == pids(first)


def test_the_servers_are_set_up_as_a_safe_host_of_forks(stack: Stack) -> None:
    stack.up()
    settings = {
        name: query(stack, f"SHOW {name}")
        for name in ("listen_addresses", "unix_socket_directories", "file_copy_method", "summarize_wal", "fsync")
    }
    assert settings == {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "file_copy_method": "clone",
        "summarize_wal": "on",
        "fsync": "off",
    }
    assert query(stack, "SELECT array_agg(DISTINCT auth_method) FROM pg_hba_file_rules") == ["reject", "scram-sha-256"]
    assert query(stack, "SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL") == 0
    assert query(stack, "SHOW server_encoding") == "UTF8"
    with redis.Redis.from_url(stack.valkey_url(), decode_responses=True) as client:
        found = client.config_get("appendonly", "maxmemory-policy", "bind")
    assert found == {"appendonly": "yes", "maxmemory-policy": "noeviction", "bind": "127.0.0.1"}


def test_a_durable_stack_syncs(folder: Path) -> None:
    durable = Stack(folder / "durable")
    try:
        assert not durable.up().disposable
        assert query(durable, "SHOW fsync") == "on"
        assert query(durable, "SHOW synchronous_commit") == "on"
    finally:
        durable.down(destroy=True)


def test_data_is_private_and_servers_never_run_as_root(stack: Stack) -> None:
    status = stack.up()
    for name in ("postgres", "valkey"):
        assert (status.data_dir / name).stat().st_mode & 0o777 == 0o700
        owner = Path(f"/proc/{status.service(name).pid}").stat().st_uid
        assert owner == (status.data_dir / name).stat().st_uid != 0
    open_to_others = [
        path
        for path in stack.state_dir.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o077 and not path.is_relative_to(status.data_dir)
    ]
    assert open_to_others == []


def test_no_password_is_shown(stack: Stack) -> None:
    status = stack.up()
    secrets = [urlsplit(url).password or "" for url in (stack.postgres_url(), stack.valkey_url())]
    assert all(len(secret) == 48 for secret in secrets)
    places = [repr(status), *(path.read_text() for path in (stack.state_dir / "logs").iterdir())]
    places += [path.read_text() for path in (stack.state_dir / "processes").iterdir()]
    places += [(stack.state_dir / "stack.json").read_text()]
    for pid in pids(status).values():
        places += [Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace") for name in ("cmdline", "environ")]
    assert not [place for place in places if any(secret in place for secret in secrets)]


def test_the_password_of_a_failed_statement_stays_out_of_the_log(stack: Stack) -> None:
    stack.up()
    with pytest.raises(psycopg.errors.DuplicateObject):
        execute(stack, "CREATE ROLE postgres PASSWORD 'tell-nobody'")
    log = (stack.state_dir / "logs" / "postgres.log").read_text()
    assert "already exists" in log
    assert "tell-nobody" not in log


def test_a_wrong_password_or_none_is_refused(stack: Stack) -> None:
    stack.up()
    address = urlsplit(stack.postgres_url())
    for credentials in ("postgres:wrong", "postgres"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"postgresql://{credentials}@127.0.0.1:{address.port}/postgres")
    valkey = urlsplit(stack.valkey_url())
    once = Retry(NoBackoff(), 0)
    for password in (None, "wrong"):
        with (
            redis.Redis(port=valkey.port or 0, password=password, retry=once) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()


def test_the_login_of_a_fork_enters_its_own_fork_alone(stack: Stack) -> None:
    stack.up()
    fork = resource_name(str(uuid.uuid4()), "fork", 1)
    execute(stack, f"CREATE ROLE {fork} LOGIN PASSWORD 'p'")
    for database in (fork, resource_name(str(uuid.uuid4()), "fork", 2)):
        execute(stack, f"CREATE DATABASE {database}")
    url = urlsplit(stack.postgres_url())._replace(netloc=f"{fork}:p@127.0.0.1:{urlsplit(stack.postgres_url()).port}")
    with psycopg.connect(url._replace(path=f"/{fork}").geturl()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    for other in (database, "postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects"):
            psycopg.connect(url._replace(path=f"/{other}").geturl())


def test_down_leaves_no_process_and_up_brings_the_data_back(stack: Stack, folder: Path) -> None:
    before = stack.up()
    execute(stack, "CREATE TABLE kept AS SELECT 42 AS answer")
    with redis.Redis.from_url(stack.valkey_url()) as client:
        client.set("kept", "42")
    status = stack.down()
    assert [each.state for each in status.services] == [ServiceState.STOPPED] * 2
    assert works_below(folder) == []
    assert not stack.down().running
    after = stack.up()
    assert query(stack, "SELECT answer FROM kept") == 42
    with redis.Redis.from_url(stack.valkey_url()) as client:
        assert client.get("kept") == b"42"
    assert [each.address for each in after.services] == [each.address for each in before.services]


def test_down_on_nothing_makes_nothing(folder: Path) -> None:
    assert not Stack(folder / "none").down(destroy=True).running
    assert not (folder / "none").exists()


@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_a_killed_server_is_seen_and_brought_back_with_its_data(stack: Stack, name: str) -> None:
    first = stack.up()
    execute(stack, "CREATE TABLE kept AS SELECT 42 AS answer")
    # An open session, so that a backend outlives the postmaster for a moment.
    with psycopg.connect(stack.postgres_url()):
        kill(pids(first)[name])
        assert stack.status().service(name).state is ServiceState.CRASHED
        second = stack.up()
    assert second.started == (name,)
    assert second.running
    assert query(stack, "SELECT answer FROM kept") == 42


def test_a_stale_lock_file_with_the_number_of_a_living_process_does_not_stop_postgres(stack: Stack) -> None:
    status = stack.up()
    kill(pids(status)["postgres"])
    lock = status.data_dir / "postgres" / "postmaster.pid"
    other = pids(status)["valkey"]
    lock.write_text("\n".join([str(other), *lock.read_text().splitlines()[1:]]) + "\n")
    assert stack.up().running
    assert pids(stack.status())["valkey"] == other


def test_servers_whose_records_were_lost_are_ended_and_started_anew(stack: Stack, folder: Path) -> None:
    first = [procfs.process_id(pid) for pid in pids(stack.up()).values()]
    shutil.rmtree(stack.state_dir / "processes")
    second = stack.up()
    assert set(second.started) == {"postgres", "valkey"}
    assert query(stack, "SELECT 1") == 1
    assert not [process for process in first if process and procfs.is_running(process)]
    shutil.rmtree(stack.state_dir / "processes")
    stack.down()
    assert works_below(folder) == []


@pytest.mark.parametrize("bound", [False, True])
def test_servers_outlive_a_killed_caller_unless_they_are_bound_to_it(
    stack: Stack, folder: Path, *, bound: bool
) -> None:
    script = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        "from orchestrator.devstack import Stack\n"
        f"Stack({str(stack.state_dir)!r}, disposable=True).up(bound_to_caller={bound})\n"
        "print('up', flush=True)\n"
        "time.sleep(300)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == "up\n"
        first = stack.status()
        assert first.running
        assert [each.bound_to_caller for each in first.services] == [bound, bound]
        caller.kill()
        caller.wait()
    if bound:
        assert procfs.wait_until(lambda: works_below(folder) == [], 15)
    second = stack.up()
    assert set(second.started) == ({"postgres", "valkey"} if bound else set())
    assert second.running


def test_an_up_that_was_killed_while_initialising_is_completed_by_the_next(new_stack: Stack, folder: Path) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from orchestrator.devstack import Stack\n"
        f"Stack({str(new_stack.state_dir)!r}, disposable=True).up()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as caller:
        draft = new_stack.state_dir / "data" / "postgres.new" / "base"
        assert procfs.wait_until(draft.exists, 30)
        caller.kill()
    status = new_stack.up()
    assert status.running
    assert query(new_stack, "SELECT 1") == 1
    assert sorted(each.name for each in status.data_dir.iterdir()) == [
        "postgres",
        "postgres.lock",
        "valkey",
        "valkey.lock",
    ]


def test_simultaneous_ups_start_one_stack(new_stack: Stack) -> None:
    results: list[StackStatus] = []
    threads = [threading.Thread(target=lambda: results.append(Stack(new_stack.state_dir).up())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert sorted(name for each in results for name in each.started) == ["postgres", "valkey"]
    assert len({tuple(pids(each).items()) for each in results}) == 1


def test_a_port_that_somebody_took_is_exchanged(stack: Stack) -> None:
    stack.up()
    stack.down()
    old = {name: urlsplit(url).port for name, url in (("p", stack.postgres_url()), ("v", stack.valkey_url()))}
    with socket.create_server(("127.0.0.1", old["p"] or 0)), socket.create_server(("127.0.0.1", old["v"] or 0)):
        assert stack.up().running
        assert urlsplit(stack.postgres_url()).port != old["p"]
        assert urlsplit(stack.valkey_url()).port != old["v"]
        assert query(stack, "SELECT 1") == 1


def test_a_port_that_is_taken_between_the_look_and_the_start_is_exchanged(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        offers = iter([taken])
        choose = sys.modules["orchestrator.devstack.ports"].choose_port
        monkeypatch.setattr(
            "orchestrator.devstack.ports.choose_port", lambda avoid=(): next(offers, None) or choose(avoid)
        )
        assert stack.up().running
        assert str(taken) not in stack.valkey_url()


def test_a_damaged_state_file_is_one_clear_sentence_and_can_be_deleted(stack: Stack) -> None:
    first = stack.up()
    state_file = stack.state_dir / "stack.json"
    state_file.write_text("garbage")
    for call in (stack.up, stack.down, stack.status, stack.postgres_url):
        with pytest.raises(StackError, match=r"stack\.json is damaged \(not JSON\): delete it and run `forkyard up`"):
            call()
    state_file.unlink()
    second = stack.up()
    assert pids(second) == pids(first)
    assert query(stack, "SELECT 1") == 1


def test_a_damaged_state_file_does_not_stop_a_removal(stack: Stack, folder: Path) -> None:
    stack.up()
    (stack.state_dir / "stack.json").write_text("garbage")
    stack.down(destroy=True)
    assert works_below(folder) == []
    assert not stack.state_dir.exists()


def test_lost_passwords_are_reported_and_never_replaced(stack: Stack) -> None:
    stack.up()
    stack.down()
    (stack.state_dir / "passwords.json").unlink()
    with pytest.raises(StackError, match=r"passwords\.json is gone, though there is data"):
        stack.up()


def test_a_changed_superuser_password_is_reported(stack: Stack) -> None:
    first = pids(stack.up())
    execute(stack, "ALTER ROLE postgres PASSWORD 'mine'")
    with pytest.raises(StackError, match="refuses the password kept for 'postgres'"):
        stack.up()
    assert pids(stack.status()) == first


def test_urls_of_a_stack_that_was_never_up_say_what_to_do(folder: Path) -> None:
    with pytest.raises(StackError, match="run `forkyard up`"):
        Stack(folder / "none").postgres_url()


def test_a_server_that_fails_shows_the_end_of_its_log_and_leaves_nothing_running(stack: Stack, folder: Path) -> None:
    status = stack.up()
    stack.down()
    (status.data_dir / "postgres" / "postgresql.auto.conf").write_text("shared_buffers = 'nonsense'\n")
    with pytest.raises(StackError, match=r"postgres did not start: .*shared_buffers.*postgres\.log"):
        stack.up()
    assert works_below(folder) == []


def test_data_of_another_major_version_is_refused(stack: Stack) -> None:
    status = stack.up()
    stack.down()
    (status.data_dir / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(StackError, match="was made by PostgreSQL 9, but the installed one is"):
        stack.up()


def test_a_server_seen_from_nowhere_is_not_doubled(stack: Stack) -> None:
    """As when the state folder is shared by two containers: the other's processes cannot be seen."""
    status = stack.up()
    stack.down()
    lock = status.data_dir / "postgres.lock"
    with subprocess.Popen(["flock", lock, "sleep", "300"], start_new_session=True) as holder:
        try:
            assert procfs.wait_until(lambda: is_held(lock), 30)
            with pytest.raises(StackError, match="perhaps in another container"):
                stack.up()
        finally:
            os.killpg(holder.pid, signal.SIGKILL)


def test_processes_beside_the_servers_are_listed_and_end_with_the_stack(stack: Stack, folder: Path) -> None:
    stack.up()
    started = stack.start("beat", ["/bin/sleep", "300"], env={}, cwd=folder, address="127.0.0.1:5555")
    assert started.state is ServiceState.RUNNING
    assert stack.start("beat", ["/bin/sleep", "300"], env={}).pid == started.pid
    assert stack.status().service("beat").address == "127.0.0.1:5555"
    stack.start("flower", ["/bin/sleep", "300"], env={}, cwd=folder)
    stack.stop("flower")
    assert [each.name for each in stack.status().services] == ["postgres", "valkey", "beat"]
    with pytest.raises(StackError, match="give the process another name"):
        stack.start("valkey", ["/bin/sleep", "300"], env={})
    stack.down()
    assert works_below(folder) == []


def test_a_state_folder_that_is_a_file_is_refused(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(StackError, match="is not a folder"):
        Stack(folder / "file").up()


class TestAsRoot:
    @pytest.fixture(autouse=True)
    def _root(self) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can do this")

    def test_data_goes_elsewhere_where_the_account_cannot_enter(self, new_stack: Stack, folder: Path) -> None:
        folder.chmod(0o700)
        status = new_stack.up()
        assert status.running
        assert status.data_dir.is_relative_to(ELSEWHERE)
        assert "cannot enter" in status.notes[0]
        assert (status.data_dir / "postgres").stat().st_mode & 0o777 == 0o700
        # What was decided stays, whatever becomes possible later.
        folder.chmod(0o711)
        new_stack.down()
        assert new_stack.up().data_dir == status.data_dir
        # Even if the state file is lost.
        new_stack.down()
        (new_stack.state_dir / "stack.json").unlink()
        assert new_stack.up().data_dir == status.data_dir
        new_stack.down(destroy=True)
        assert not status.data_dir.parent.exists()

    def test_programs_that_the_account_cannot_run_are_copied(
        self, new_stack: Stack, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from orchestrator.devstack.binaries import Binaries

        hidden = folder / "hidden"
        hidden.mkdir(mode=0o700)
        closed = Binaries.locate().copied_to(hidden / "programs")
        monkeypatch.setattr(Binaries, "locate", lambda: closed)
        status = new_stack.up()
        assert status.running
        assert "programs were copied to" in status.notes[0]
        program = Path(f"/proc/{status.service('postgres').pid}/exe").readlink()
        assert program.is_relative_to(ELSEWHERE)

    def test_another_account_can_be_named_but_not_changed(self, folder: Path) -> None:
        named = Stack(folder / "named", account="daemon", disposable=True)
        try:
            assert named.up().account == "daemon"
            with pytest.raises(StackError, match="made for the account 'daemon', not 'nobody'"):
                Stack(folder / "named", account="nobody").up()
        finally:
            named.down(destroy=True)

    def test_a_folder_of_another_account_is_refused(self, folder: Path) -> None:
        theirs = folder / "theirs"
        theirs.mkdir()
        os.chown(theirs, 65534, 65534)
        with pytest.raises(StackError, match="belongs to another account than 'root'"):
            Stack(theirs).up()

    def test_cloning_is_used_and_named_on_a_file_system_that_can(self, folder: Path) -> None:
        image, mount = folder / "image", folder / "mount"
        image.touch()
        os.truncate(image, 400 * 1024 * 1024)
        mount.mkdir()
        made = shutil.which("mkfs.xfs") and subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", image]).returncode == 0
        if not made or subprocess.run(["mount", "-o", "loop", image, mount], capture_output=True).returncode != 0:
            pytest.skip("no loop-mounted XFS here")
        cloning = Stack(mount / "stack", disposable=True)
        try:
            assert cloning.up().cloning == "copy-on-write (xfs)"
            if shutil.which("xfs_io"):
                hint = ["xfs_io", "-c", "cowextsize", cloning.status().data_dir / "postgres" / "base"]
                assert subprocess.run(hint, capture_output=True, text=True).stdout.startswith("[8192]")
            cloning.down(destroy=True)
        finally:
            subprocess.run(["umount", mount], check=True)
