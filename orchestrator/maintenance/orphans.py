"""Orphans: what the provider lists and the registry does not know, or knows as gone. And the reverse: the lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from orchestrator.errors import ForeignResource, ForkyardError, ProviderError, UserError
from orchestrator.forks.base import Found, Provider
from orchestrator.forks.names import parse_name, short_installation
from orchestrator.maintenance.sweep import Finding
from orchestrator.runs import EnvironmentState
from orchestrator.secrets import redact
from orchestrator.steps.context import Context
from orchestrator.store import Project

NAME = "orphans"


def run_once(context: Context, dry_run: bool) -> Iterator[Finding]:
    projects = context.store.projects.all()
    hosts: dict[tuple[str, str], list[Project]] = {}
    for project in projects:
        hosts.setdefault((project.provider, project.host_conninfo), []).append(project)
    for sharing in hosts.values():
        try:
            yield from _one_host(context, sharing, dry_run)
        except (ProviderError, UserError) as exc:  # one host that does not answer must not hide the others
            reason = redact(str(exc))
            yield Finding(sweep=NAME, kind="provider", name=sharing[0].name, action="left", reason=reason)


def _one_host(context: Context, sharing: list[Project], dry_run: bool) -> Iterator[Finding]:
    provider = context.provider(sharing[0])
    looked_at = datetime.now(UTC)
    # The listing comes first: whatever it shows had its intent recorded before, so the registry must know it.
    listed = {found.name: found for found in provider.list()}
    forks = context.store.environments.by_name([name for name, found in listed.items() if found.kind == "fork"])
    baselines = context.store.projects.baselines_by_name([n for n, found in listed.items() if found.kind == "baseline"])
    known_gone = {name for name, row in forks.items() if row.state is EnvironmentState.RELEASED}
    known_gone |= {name for name, row in baselines.items() if row.state == "released"}
    unknown = set(listed) - set(forks) - set(baselines)
    if unknown and not forks and not baselines:
        yield Finding(
            sweep=NAME,
            kind="provider",
            name=sharing[0].name,
            action="left",
            reason=f"{len(unknown)} forks are listed and the registry knows none of them: is it the right registry?",
        )
    else:
        for name in sorted(unknown | known_gone)[: context.settings.sweeps.max_deletions]:
            why = "the registry does not know it" if name in unknown else "the registry says that it is gone"
            yield _delete(context, provider, listed[name], why, dry_run)
    yield from _lost(context, sharing, set(listed), looked_at, dry_run)


def _delete(context: Context, provider: Provider, found: Found, why: str, dry_run: bool) -> Finding:
    name = parse_name(found.name)
    ours = name is not None and name.installation == short_installation(context.installation)
    if found.stamp is not None:
        ours = ours and found.stamp.installation == context.installation
    action = "left: not ours"
    if ours and dry_run:
        action = "would delete"
    elif ours:
        try:
            (provider.destroy if found.kind == "fork" else provider.destroy_baseline)(found.name)
            action = "deleted"
        except ForeignResource:
            action = "left: not ours"
        except ForkyardError as exc:
            action = f"left: {redact(str(exc))}"
    return Finding(sweep=NAME, kind=found.kind, name=found.name, action=action, reason=why)


def _lost(
    context: Context, sharing: list[Project], listed: set[str], looked_at: datetime, dry_run: bool
) -> Iterator[Finding]:
    for project in sharing:
        for row in context.store.environments.open(project.id):
            missing = row["name"] not in listed and row["state"] == "ready" and row["ready_at"] < looked_at
            # A listing is a moment, and clocks differ: before a fork is given up its provider is asked for it alone.
            if not missing or context.provider(project).present(row["name"]):
                continue
            if not dry_run:
                context.store.environments.lost(row["id"], reason="the provider no longer lists it")
            yield Finding(
                sweep=NAME,
                kind="environment",
                name=row["name"],
                action="would be marked lost" if dry_run else "marked lost",
                reason="the provider no longer lists it",
            )
