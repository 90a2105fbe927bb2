"""What Forkyard's registry and fencing cost: a batch of runs without work, beside the same batch on bare Celery.

    python benchmarks/overhead.py [--quick] [--json] [--durable] [--rounds N]

Each round sends, in turn, a chord of 50 bare chains of six empty tasks, and experiments of 50 runs whose agents do
nothing through the whole pipeline: real workers, messages, claims, commits, slots, parking, events and summary; only
the provider, the agent and the looking at databases are left out. All on one Postgres and one Valkey, with the same
Celery settings, queues and numbers of worker processes. A batch's time runs from before it is submitted (which for
Forkyard includes reading the file and recording the runs) to the end of its last task.

parallel16, parallel4: the experiment's limit; all runs above it park and are woken. environment: parallel16 with the
fork's rows in the registry as well (intent, resources, ready, released), against a provider that does nothing.
bare: Celery as it comes, which stores each task's result; bare_unstored: the same without results. A ratio is the
median, over the rounds, of the ratio of two batches of the same round; `cpu_…` compares the processor time that all
processes took (workers, Postgres, Valkey), which a busy machine disturbs less than the clock.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg
from celery import Celery

from benchmarks import _overhead_bare as bare
from benchmarks._cpu import cpu_seconds
from benchmarks._report import Report, describe_machine, note, option_parser, spread
from orchestrator.app import open_context
from orchestrator.app.embedded import Concurrency, bring_up, stack_of, take_down
from orchestrator.app.submit import submit
from orchestrator.cli.setup import write_config
from orchestrator.devstack.status import ServiceState
from orchestrator.settings import Settings, load
from orchestrator.steps.context import Context
from workers.app import app as forkyard_app

ROOT = Path(__file__).resolve().parent.parent
RUNS = 50
STEPS = 6
SIZE = Concurrency(agents=2, steps=2, gc=1)
LIMIT_SECONDS = 120
EXPERIMENT = """\
experiment: {name}
project: bench
task: nothing
repeats: {runs}
parallel: {parallel}
promote: none
variants:
  {variant}:
    agent: {{command: ["true"]}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One way to run the batch; calling it runs one and returns its seconds."""

    name: str
    run: Callable[[], float]
    peer: bool = False


@dataclass(slots=True)
class Sample:
    seconds: list[float] = field(default_factory=list)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def total_cpu(self) -> list[float]:
        """All processes together, round by round."""
        return [sum(parts) for parts in zip(*self.cpu.values(), strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Yard:
    """The running installation."""

    folder: Path
    settings: Settings
    context: Context
    processes: Mapping[str, Sequence[int]]
    """Whose processor time is counted, by name: process ids."""
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))


def main() -> int:
    parser = option_parser(__doc__ or "")
    parser.add_argument("--durable", action="store_true", help="Postgres with fsync; the default is without")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each kind is measured")
    options = parser.parse_args()
    rounds = options.rounds or (3 if options.quick else 11)
    report = Report(benchmark="overhead", settings=describe_machine(["celery", "kombu", "psycopg", "redis"]))
    with tempfile.TemporaryDirectory(prefix="forkyard-bench-") as scratch:
        Path(scratch).chmod(0o711)
        with installation(Path(scratch), durable=options.durable) as yard:
            report.settings |= describe_yard(yard, rounds, durable=options.durable)
            kinds = kinds_of(yard, quick=options.quick)
            samples = measure(yard, kinds, rounds)
    fill(report, kinds, samples)
    report.show(as_json=options.json)
    return 0


def kinds_of(yard: Yard, *, quick: bool) -> list[Kind]:
    kinds = [
        Kind(name="bare", run=lambda: run_bare(yard, store_results=True), peer=True),
        Kind(name="parallel16", run=lambda: run_forkyard(yard, "noop", 16)),
        Kind(name="parallel4", run=lambda: run_forkyard(yard, "noop", 4)),
    ]
    if not quick:
        kinds += [
            Kind(name="bare_unstored", run=lambda: run_bare(yard, store_results=False), peer=True),
            Kind(name="environment", run=lambda: run_forkyard(yard, "environment", 16)),
        ]
    return kinds


def measure(yard: Yard, kinds: Sequence[Kind], rounds: int) -> dict[str, Sample]:
    """Every kind once per round, in turning order; the first round warms up and does not count."""
    samples = {kind.name: Sample() for kind in kinds}
    for number in range(rounds + 1):
        turned = [*kinds[number % len(kinds) :], *kinds[: number % len(kinds)]]
        took = {kind.name: run_one(yard, kind, samples[kind.name] if number else Sample()) for kind in turned}
        what = f"round {number} of {rounds}" if number else "warm-up"
        note(f"{what}: " + ", ".join(f"{kind.name} {took[kind.name]:.2f} s" for kind in kinds))
    return samples


def run_one(yard: Yard, kind: Kind, into: Sample) -> float:
    before = {name: cpu_seconds(pids) for name, pids in yard.processes.items()}
    seconds = kind.run()
    into.seconds.append(seconds)
    for name, pids in yard.processes.items():
        into.cpu.setdefault(name, []).append(cpu_seconds(pids) - before[name])
    return seconds


def run_bare(yard: Yard, *, store_results: bool) -> float:
    name = f"bare{next(yard.numbers)}"
    key = bare.END_KEY.format(name)
    began = time.time()
    bare.batch(name, [f"{name}/noop#{n}" for n in range(1, RUNS + 1)], store_results=store_results).apply_async()
    ended = wait_for(lambda: bare.app.backend.client.get(key), name)
    return float(ended) - began


def run_forkyard(yard: Yard, variant: str, parallel: int) -> float:
    name = f"{variant}{next(yard.numbers)}"
    path = yard.folder / f"{name}.yaml"
    path.write_text(EXPERIMENT.format(name=name, runs=RUNS, parallel=parallel, variant=variant), encoding="utf-8")
    began = time.time()
    submitted = submit(yard.context, path)
    experiments = yard.context.store.experiments
    ended = wait_for(lambda: experiments.get(submitted.experiment.id).finished_at, name)
    check(yard, submitted.experiment.id)
    return float(ended.timestamp()) - began


def check(yard: Yard, experiment_id: int) -> None:
    """A figure counts only if every run went through every step, once, and ended as it should."""
    runs = yard.context.store.runs.of_experiment(experiment_id)
    for run in runs:
        attempts = [(row["step"], row["outcome"]) for row in yard.context.store.runs.attempts(run.id)]
        if run.state != "discarded" or len(attempts) != STEPS or {outcome for _, outcome in attempts} != {"done"}:
            raise SystemExit(f"{run.id} ended as {run.state} after {attempts}")
    if len(runs) != RUNS:
        raise SystemExit(f"{len(runs)} runs were recorded, not {RUNS}")


def wait_for(look: Callable[[], Any], what: str) -> Any:
    """Looks seldom, for the looking costs processor time; the end carries its own time."""
    give_up = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < give_up:
        found = look()
        if found is not None:
            time.sleep(0.3)  # the workers' last messages must not burden the next batch
            return found
        time.sleep(0.05)
    raise SystemExit(f"{what} did not end within {LIMIT_SECONDS} s")


@contextmanager
def installation(folder: Path, *, durable: bool) -> Iterator[Yard]:
    """An embedded stack with both sets of workers and one project, whose target and fork host are never asked."""
    config = folder / "forkyard.toml"
    write_config(config, embedded=True)
    os.environ["FORKYARD_CONFIG"] = str(config)
    try:
        settings = bring_up(load(config), bound_to_caller=True, disposable=not durable)
        roots = {**start_workers(settings, "bare"), **start_workers(settings, "noop")}
        context = open_context(settings)
        record_project(context)
        bare.app.backend.on_task_call = lambda *_: None
        for app in (bare.app, forkyard_app):
            wait_until_ready(app, settings)
        status = stack_of(settings).status()
        servers = {name: [int(status.service(name).pid or 0)] for name in ("postgres", "valkey")}
        yield Yard(
            folder=folder, settings=settings, context=context, processes={"workers": [*roots.values()], **servers}
        )
        context.store.close()
    finally:
        take_down(load(config), destroy=True)


def start_workers(settings: Settings, kind: str) -> dict[str, int]:
    """One worker per queue, as `forkyard up` starts them; pids by name."""
    stack, pids = stack_of(settings), {}
    for queue in ("agents", "steps", "gc"):
        name = f"{kind}-{queue}"
        argv = [sys.executable, "-m", "celery", "-A", f"benchmarks._overhead_{kind}", "worker", "-Q", queue]
        argv += ["-n", f"{queue}@%h", "-c", str(getattr(SIZE, queue)), "-l", "INFO", "-E"]
        started = stack.start(name, argv, env={**os.environ}, cwd=ROOT, bound_to_caller=True)
        pids[name] = int(started.pid or 0)
    return pids


def record_project(context: Context) -> None:
    nowhere = "host=127.0.0.1 port=1 dbname=nowhere"
    project = context.store.projects.save(
        name="bench",
        provider="null",
        target_conninfo=nowhere,
        host_conninfo=nowhere,
        max_parallel=16,
        ttl_seconds=3600,
        pool_size=0,
        agent_connections=2,
        restart_interrupted=True,
        redis_url=None,
    )
    baseline = context.store.projects.intend_baseline(project.id, label=None, prefix="fy_00000000_b")
    context.store.projects.seal_baseline(baseline.id, fingerprint="sha256:b", target_fingerprint="sha256:t")


def wait_until_ready(app: Celery, settings: Settings) -> None:
    give_up = time.monotonic() + LIMIT_SECONDS
    while len(app.control.ping(timeout=1) or ()) < 3:
        ended = [one for one in stack_of(settings).status().services if one.state is not ServiceState.RUNNING]
        for one in ended:
            note(one.log.read_text(encoding="utf-8", errors="replace")[-2000:] if one.log else "")
        if ended or time.monotonic() > give_up:
            raise SystemExit(f"the workers of {app.main} did not start")


def fill(report: Report, kinds: Sequence[Kind], samples: Mapping[str, Sample]) -> None:
    tasks = RUNS * STEPS
    for kind in kinds:
        sample, into = samples[kind.name], report.peers if kind.peer else report.figures
        into |= spread(kind.name, sample.seconds, unit="s")
        for process, seconds in sample.cpu.items():
            into[f"{kind.name}_{process}_cpu_ms_per_task"] = round(statistics.median(seconds) * 1000 / tasks, 2)
    bare_cpu = samples["bare"].total_cpu()
    headline = ratios(samples["parallel16"].seconds, samples["bare"].seconds)
    report.ratios["overhead"] = round(statistics.median(headline), 2)
    report.ratios["overhead_min"], report.ratios["overhead_max"] = round(min(headline), 2), round(max(headline), 2)
    for kind in kinds:
        sample = samples[kind.name]
        if not kind.peer:
            over = statistics.median(ratios(sample.seconds, samples["bare"].seconds))
            report.ratios[f"overhead_{kind.name}"] = round(over, 2)
            report.ratios[f"cpu_{kind.name}"] = round(statistics.median(ratios(sample.total_cpu(), bare_cpu)), 2)
        elif kind.name != "bare":
            over = statistics.median(ratios(samples["parallel16"].seconds, sample.seconds))
            report.ratios[f"overhead_over_{kind.name}"] = round(over, 2)


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(over, under, strict=True)]


def describe_yard(yard: Yard, rounds: int, *, durable: bool) -> dict[str, object]:
    with psycopg.connect(yard.settings.registry.conninfo()) as connection:
        major, minor = divmod(connection.info.server_version, 10000)
    return {
        "postgres": f"{major}.{minor}",
        "valkey": bare.app.backend.client.info("server").get("valkey_version", "?"),
        "fsync": "on" if durable else "off",
        "valkey_appendfsync": "everysec",
        "runs": RUNS,
        "rounds": rounds,
        "worker_processes": {"agents": SIZE.agents, "steps": SIZE.steps, "gc": SIZE.gc},
        "celery_settings": "prefork, disable_prefetch, events on, early acknowledgement, JSON",
    }


if __name__ == "__main__":
    sys.exit(main())
