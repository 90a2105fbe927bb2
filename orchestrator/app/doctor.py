"""Doctor: what is well, what is not, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from orchestrator.errors import ForkyardError
from orchestrator.forks.base import Finding
from orchestrator.merge.target import check_target
from orchestrator.secrets import redact
from orchestrator.steps.context import Context
from orchestrator.store import Project

SWEEP_LAG_FACTOR = 3


def examine(context: Context) -> Iterator[Finding]:
    """Look at registry, broker, workers, projects and sweeps. Never raises for what it finds."""
    yield Finding(subject="registry", ok=True, detail=f"answers; installation {context.installation}")
    yield from _guarded("broker", context.dispatcher.check)
    for project in context.store.projects.all():
        yield from _project(context, project)
    yield from _sweeps(context)
    yield from _overdue(context)


def _project(context: Context, project: Project) -> Iterator[Finding]:
    for finding in _guarded(f"{project.name}: fork host", lambda: context.provider(project).check()):
        yield _named(project, "fork host", finding)
    target = context.target_conninfo(project)
    for checked in _guarded(
        f"{project.name}: target",
        lambda: [Finding(subject=f.subject, ok=f.ok, detail=f.detail, fix=f.fix) for f in check_target(target)],
    ):
        yield _named(project, "target", checked)


def _named(project: Project, what: str, finding: Finding) -> Finding:
    if finding.subject.startswith(project.name):
        return finding
    subject = f"{project.name}: {what}" if finding.subject == what else f"{project.name}: {what}: {finding.subject}"
    return Finding(subject=subject, ok=finding.ok, detail=finding.detail, fix=finding.fix)


def _sweeps(context: Context) -> Iterator[Finding]:
    sweeps = context.settings.sweeps
    periods = {"rescue": sweeps.rescue_every_seconds, "expire": sweeps.expire_every_seconds}
    last = {row["name"]: row for row in context.store.sweeps.last()}
    for name, period in periods.items():
        ok = context.store.projects.installation_age_seconds() < period * SWEEP_LAG_FACTOR + 60
        seen = "not due yet" if ok else "never ran"
        if name in last:
            age, outcome = float(last[name]["age_seconds"]), str(last[name]["outcome"])
            ok = age < period * SWEEP_LAG_FACTOR + 60 and not outcome.startswith("fail")
            seen = f"ran {age:.0f} s ago: {outcome}"
        fix = "" if ok else "start beat and a worker of the gc queue (`forkyard up`, or see docs/operations.md)"
        yield Finding(subject=f"sweep {name}", ok=ok, detail=seen, fix=fix)


def _overdue(context: Context) -> Iterator[Finding]:
    overdue = context.store.runs.overdue(limit=1000)
    detail = f"{len(overdue)} runs whose worker or message was lost"
    fix = "" if not overdue else "`forkyard sweep` sends them on"
    yield Finding(subject="stuck runs", ok=not overdue, detail=detail, fix=fix)
    age = context.settings.sweeps.older_than_seconds
    due = context.store.environments.due(older_than_seconds=age, limit=1000)
    fix = "" if not due else "`forkyard sweep --dry-run` lists them, `forkyard sweep` releases them"
    yield Finding(subject="zombie forks", ok=not due, detail=f"{len(due)} forks that nothing needs", fix=fix)


def _guarded(subject: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except ForkyardError as exc:
        yield Finding(subject=subject, ok=False, detail=redact(str(exc)), fix="see docs/operations.md")
