"""From nothing to the first query in a fork: the `clone` provider, cold and from the warm pool, beside pg_dump | psql.

    python benchmarks/fork.py [--quick] [--json]

Starts a Postgres of its own on each place: `xfs`, a loop-mounted XFS where files can share blocks (as root, with
mkfs.xfs), and `plain`, the temporary folder. Nothing is left of either, whatever happens.

cold: create + open + connect + one row by its key. pool: the fork was created before; open + connect + one row.
cold16, pool16: sixteen at once, each fork's own time. Everything with fsync.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg import sql

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.loop_xfs import loop_mounted_xfs
from orchestrator.devstack.filesystem import describe_cloning
from orchestrator.forks import open_provider
from orchestrator.forks.base import Login, Provider, Stamp
from orchestrator.forks.names import resource_name
from orchestrator.pgtools import PgTools, find_pg_tools
from orchestrator.testing.fork_host import ForkHost, private_fork_host

AT_ONCE = 16
MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A target of about that many megabytes. `rounds`: repetitions; `peer_rounds`: how many of them with the peer."""

    label: str
    megabytes: int
    rounds: int
    peer_rounds: int


FULL = (
    Size(label="10mb", megabytes=10, rounds=30, peer_rounds=10),
    Size(label="1gb", megabytes=1024, rounds=15, peer_rounds=3),
)
FULL_PLAIN = (
    Size(label="10mb", megabytes=10, rounds=15, peer_rounds=5),
    Size(label="1gb", megabytes=1024, rounds=5, peer_rounds=2),
)
QUICK = (
    Size(label="10mb", megabytes=10, rounds=4, peer_rounds=1),
    Size(label="100mb", megabytes=100, rounds=4, peer_rounds=1),
)
QUICK_PLAIN = QUICK[:1]


@dataclass(slots=True)
class Results:
    """Milliseconds by name: `<place>_<size>_<what>`."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, seconds: float) -> None:
        self.samples.setdefault(name, []).append(seconds * 1000)


@dataclass(slots=True, kw_only=True)
class Yard:
    """One installation on one private host."""

    host: ForkHost
    provider: Provider
    installation: str
    tools: PgTools
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def stamped(self, kind: str) -> tuple[str, Stamp]:
        number = next(self.ids)
        if kind == "baseline":
            stamp = Stamp(installation=self.installation, project="bench", kind="baseline", resource_id=number)
            return resource_name(self.installation, "baseline", number), stamp
        expires_at = datetime.now(UTC) + timedelta(hours=1)
        stamp = Stamp(
            installation=self.installation, project="bench", kind="fork", resource_id=number, expires_at=expires_at
        )
        return resource_name(self.installation, "fork", number), stamp

    def checkpoint(self) -> None:
        """Dirty pages of one measurement must not burden the next one."""
        with psycopg.connect(self.host.superuser, autocommit=True) as conn:
            conn.execute("CHECKPOINT")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller targets, under a minute")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began, results, settings = time.monotonic(), Results(), describe_machine()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forkyard-bench-")))
        scratch.chmod(0o711)
        places = {"plain": scratch}
        mounted = stack.enter_context(loop_mounted_xfs(scratch, gigabytes=40))
        if isinstance(mounted, Path):
            places = {"xfs": mounted, **places}
        else:
            settings["xfs"] = mounted
        for place, folder in places.items():
            sizes = {("xfs", True): QUICK, ("plain", True): QUICK_PLAIN, ("xfs", False): FULL}.get(
                (place, options.quick), FULL_PLAIN
            )
            settings[f"{place}_copies"] = describe_cloning(folder)
            settings[f"{place}_rounds"] = {size.label: size.rounds for size in sizes}
            measure_place(place, folder, scratch, sizes, results, settings)
    settings["load_at_end"] = [round(load, 2) for load in os.getloadavg()]
    settings["seconds"] = round(time.monotonic() - began, 1)
    report = summarise(results, settings)
    print(json.dumps(report, indent=2) if options.json else as_text(report))
    return 0


def measure_place(
    place: str, folder: Path, scratch: Path, sizes: Sequence[Size], results: Results, settings: dict[str, object]
) -> None:
    installation = str(uuid.uuid4())
    tools = find_pg_tools()
    # A clone costs two checkpoints; nothing else of the server may run into the measurement.
    with private_fork_host(folder / "host", {"max_wal_size": "4GB", "autovacuum": "off"}, disposable=False) as host:
        settings["postgres"] = server_version(host)
        provider = open_provider(
            "clone",
            host_conninfo=host.login,
            installation=installation,
            key=os.urandom(32),
            scratch_dir=scratch / "scratch",
            tools=tools,
        )
        yard = Yard(host=host, provider=provider, installation=installation, tools=tools)
        for size in sizes:
            measure_size(f"{place}_{size.label}", yard, size, results)


def measure_size(prefix: str, yard: Yard, size: Size, results: Results) -> None:
    """Rounds of cold, pool and peer in turn, then sixteen at once, all on one baseline."""
    target = make_target(yard, size)
    baseline, stamp = yard.stamped("baseline")
    note(f"{prefix}: importing the baseline")
    results.add(
        f"{prefix}_baseline", timed(lambda: yard.provider.create_baseline(baseline, source=target, stamp=stamp))
    )
    yard.checkpoint()
    with_peer = {round(i * size.rounds / size.peer_rounds) for i in range(size.peer_rounds)}
    for number in range(-1, size.rounds):
        warm_up = number < 0
        into = Results() if warm_up else results
        cold_round(prefix, yard, baseline, into)
        pool_round(prefix, yard, baseline, into)
        if number in with_peer:
            note(f"{prefix}: round {number + 1} of {size.rounds}, with pg_dump | psql")
            into.add(f"{prefix}_dump", peer_round(yard, target))
            yard.checkpoint()
    note(f"{prefix}: {AT_ONCE} at once")
    at_once(prefix, yard, baseline, results)
    yard.provider.destroy_baseline(baseline)
    drop(yard, target.rpartition("/")[2])
    yard.checkpoint()


def cold_round(prefix: str, yard: Yard, baseline: str, results: Results) -> None:
    name, stamp = yard.stamped("fork")
    results.add(f"{prefix}_cold", timed(lambda: cold(yard, name, stamp, baseline)))
    results.add(f"{prefix}_destroy", timed(lambda: yard.provider.destroy(name)))


def pool_round(prefix: str, yard: Yard, baseline: str, results: Results) -> None:
    name, stamp = yard.stamped("fork")
    results.add(f"{prefix}_create", timed(lambda: yard.provider.create(name, baseline=baseline, stamp=stamp)))
    results.add(f"{prefix}_pool", timed(lambda: hand_out(yard, name, stamp)))
    yard.provider.destroy(name)


def at_once(prefix: str, yard: Yard, baseline: str, results: Results) -> None:
    """Sixteen threads; the pool's forks are created beforehand, as the pool does it."""
    for what in ("cold16", "pool16"):
        forks = [yard.stamped("fork") for _ in range(AT_ONCE)]
        if what == "pool16":
            with ThreadPoolExecutor(2) as makers:
                list(makers.map(lambda fork: yard.provider.create(fork[0], baseline=baseline, stamp=fork[1]), forks))

        def one(fork: tuple[str, Stamp], *, fresh: bool = what == "cold16") -> float:
            name, stamp = fork
            return timed(lambda: cold(yard, name, stamp, baseline) if fresh else hand_out(yard, name, stamp))

        with ThreadPoolExecutor(AT_ONCE) as pool:
            began = time.perf_counter()
            for seconds in pool.map(one, forks):
                results.add(f"{prefix}_{what}", seconds)
            results.rates[f"{prefix}_{what}_forks_per_second"] = AT_ONCE / (time.perf_counter() - began)
            list(pool.map(yard.provider.destroy, [name for name, _ in forks]))
        yard.checkpoint()


def cold(yard: Yard, name: str, stamp: Stamp, baseline: str) -> None:
    yard.provider.create(name, baseline=baseline, stamp=stamp)
    hand_out(yard, name, stamp)


def hand_out(yard: Yard, name: str, stamp: Stamp) -> None:
    yard.provider.open(name, stamp=stamp)
    first_query(yard.provider.conninfo(name, Login.AGENT))


def peer_round(yard: Yard, target: str) -> float:
    """What one would do without forks: a new database, filled by pg_dump | psql."""
    name = f"peer_{uuid.uuid4().hex[:8]}"
    seconds = timed(lambda: dump_into(yard, target, name))
    drop(yard, name)
    return seconds


def dump_into(yard: Yard, target: str, name: str) -> None:
    with psycopg.connect(yard.host.superuser, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = yard.host.url(name)
    dump = subprocess.Popen([yard.tools.pg_dump, "--no-owner", target], stdout=subprocess.PIPE)
    load = subprocess.run(
        [yard.tools.psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url],
        stdin=dump.stdout,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if load.returncode or dump.wait():
        raise SystemExit("pg_dump | psql failed")
    first_query(url)


def first_query(url: str) -> None:
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT id, note FROM orders WHERE id = 77").fetchone()
    if row is None:
        raise SystemExit("the fork lacks a row of its baseline")


def make_target(yard: Yard, size: Size) -> str:
    """A table of that size, rows of about a kilobyte that do not compress, and a few small ones beside it."""
    name = f"target_{size.label}"
    with psycopg.connect(yard.host.superuser, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = yard.host.url(name)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE TABLE orders (id bigint, note text, body text)")
        conn.execute(
            "INSERT INTO orders SELECT g, md5(g::text), (SELECT string_agg(md5((g * 100 + i)::text), '')"
            " FROM generate_series(1, 28) AS i) FROM generate_series(1, %s) AS g",
            (size.megabytes * MEGABYTE // 1024,),
        )
        conn.execute("ALTER TABLE orders ADD PRIMARY KEY (id)")
        for number in range(10):
            conn.execute(
                sql.SQL("CREATE TABLE {} (id int PRIMARY KEY, name text)").format(sql.Identifier(f"small_{number}"))
            )
    return url


def drop(yard: Yard, name: str) -> None:
    with psycopg.connect(yard.host.superuser, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def summarise(results: Results, settings: dict[str, object]) -> dict[str, object]:
    """Medians with spread. The headline is the largest target, on XFS where there was one."""
    figures: dict[str, float] = {}
    peers: dict[str, float] = {}
    for name, samples in results.samples.items():
        into = peers if name.endswith("_dump") else figures
        into[f"{name}_p50_ms"] = round(statistics.median(samples), 1)
        if len(samples) > 1:
            into[f"{name}_p95_ms"] = round(statistics.quantiles(samples, n=20, method="inclusive")[18], 1)
            into[f"{name}_min_ms"], into[f"{name}_max_ms"] = round(min(samples), 1), round(max(samples), 1)
    figures |= {name: round(rate, 1) for name, rate in results.rates.items()}
    prefixes = [name.removesuffix("_cold") for name in results.samples if name.endswith("_cold")]
    ratios = {
        f"{prefix}_dump_over_{what}": round(peers[f"{prefix}_dump_p50_ms"] / figures[f"{prefix}_{what}_p50_ms"], 1)
        for prefix in prefixes
        for what in ("cold", "pool")
    }
    place = "xfs" if any(prefix.startswith("xfs") for prefix in prefixes) else "plain"
    headline = [prefix for prefix in prefixes if prefix.startswith(place)][-1]
    for what, statistic in itertools.product(("cold", "pool", "cold16", "pool16"), ("p50", "p95")):
        figures[f"{what}_{statistic}_ms"] = figures[f"{headline}_{what}_{statistic}_ms"]
    settings["headline"] = headline
    return {"benchmark": "fork", "figures": figures, "peers": peers, "ratios": ratios, "settings": settings}


def as_text(report: dict[str, object]) -> str:
    parts = [(part, report[part]) for part in ("settings", "figures", "peers", "ratios")]
    lines = [f"{part}\n" + "\n".join(f"  {k}: {v}" for k, v in dict(values).items()) for part, values in parts]  # type: ignore[call-overload]
    return "\n".join(lines)


def describe_machine() -> dict[str, object]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python benchmarks/fork.py " + " ".join(sys.argv[1:]),
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "fsync": "on",
        "load_at_start": [round(load, 2) for load in os.getloadavg()],
    }


def server_version(host: ForkHost) -> str:
    with psycopg.connect(host.superuser) as conn:
        return str(conn.info.server_version)


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
