"""Baselines: sealed versions of a target."""

from __future__ import annotations

import re
from typing import Any

import psycopg

from orchestrator.capture.fingerprint import read_schema
from orchestrator.errors import (
    CaptureError,
    ForkyardError,
    NotPossible,
    ProviderError,
    SettingsError,
    TargetUnreachable,
)
from orchestrator.forks.base import Stamp
from orchestrator.forks.names import resource_name
from orchestrator.maintenance.expire import destroy_baseline
from orchestrator.secrets import redact
from orchestrator.steps.connections import connect
from orchestrator.steps.context import Context
from orchestrator.store import Baseline, Project

_LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


def release_baseline(context: Context, project: Project, number: int) -> None:
    """Delete a sealed version. Raises NotPossible with the names of what still needs it."""
    found = context.store.projects.find_baseline(project, str(number))
    if destroy_baseline(context, found.id, reason="a person released it"):
        return
    users = context.store.projects.baseline_users(found.id)
    if not users:
        raise ProviderError(
            f"Baseline {number} of {project.name} could not be removed now; a sweep tries again, `forkyard doctor` "
            "looks at its fork host."
        )
    more = f" and {len(users) - 3} more" if len(users) > 3 else ""
    raise NotPossible(
        f"Baseline {number} of {project.name} is in use by {', '.join(users[:3])}{more}: let them end, or `forkyard "
        "cancel` or `forkyard discard` them."
    )


def create_baseline(context: Context, project: Project, *, label: str | None = None) -> Baseline:
    """Seal the target's present state as the project's next version.

    The target stays online. Raises CaptureError if its schema changes meanwhile; what was made is then removed.
    Raises SettingsError or NotPossible for a label that cannot be one or is taken, before anything is made.
    """
    if label is not None:
        _check_label(context, project, label)
    baseline = context.store.projects.intend_baseline(
        project.id, label=label, prefix=resource_name(context.installation, "baseline", 1)[:-1]
    )
    try:
        return _make(context, project, baseline)
    except BaseException as exc:
        context.store.projects.fail_baseline(baseline.id, reason=redact(str(exc)) or type(exc).__name__)
        if isinstance(exc, ForkyardError):
            destroy_baseline(context, baseline.id, reason="its making failed")
        raise


def _check_label(context: Context, project: Project, label: str) -> None:
    # A number or `latest` names a version already.
    if not _LABEL.fullmatch(label) or label.isdigit() or label == "latest":
        raise SettingsError(
            f"A label is 1 to 40 of a-z, 0-9, '.', '_' and '-', and neither a number nor 'latest'; not {label!r}."
        )
    present = {row["label"]: row["number"] for row in context.store.projects.baselines(project.id) if _stands(row)}
    if label in present:
        raise NotPossible(
            f"Baseline {present[label]} of {project.name} has the label {label!r} already: choose another one."
        )


def _stands(row: dict[str, Any]) -> bool:
    return row["state"] in ("creating", "sealed")


def _make(context: Context, project: Project, baseline: Baseline) -> Baseline:
    provider = context.provider(project)
    target = context.target_conninfo(project)
    before = _target_fingerprint(target)
    stamp = Stamp(installation=context.installation, project=project.name, kind="baseline", resource_id=baseline.id)
    provider.create_baseline(baseline.name, source=target, stamp=stamp)
    if _target_fingerprint(target) != before:
        raise CaptureError(
            f"The schema of {project.name} changed while its baseline was taken: run `baseline create` again."
        )
    with connect(provider.baseline_conninfo(baseline.name)) as connection:
        fingerprint = read_schema(connection).fingerprint
    return context.store.projects.seal_baseline(baseline.id, fingerprint=fingerprint, target_fingerprint=before)


def _target_fingerprint(target: str) -> str:
    try:
        with psycopg.connect(target, autocommit=True, connect_timeout=10) as connection:
            return read_schema(connection).fingerprint
    except psycopg.OperationalError as exc:
        raise TargetUnreachable(f"The target cannot be reached: {redact(str(exc).strip())}") from None
