"""A run's environment: made with intent first, released with proof."""

from __future__ import annotations

import structlog

from orchestrator.capture.fingerprint import read_schema
from orchestrator.errors import ForeignResource, ForkMissing, ForkyardError, ProviderError
from orchestrator.forks.base import Stamp
from orchestrator.forks.names import resource_name
from orchestrator.runs import EnvironmentState
from orchestrator.steps.connections import connect
from orchestrator.steps.context import Context, Plan
from orchestrator.steps.namespace import give_back
from orchestrator.store import Baseline, Claim, Environment, Project, Run

log = structlog.get_logger(__name__)


def provide(context: Context, plan: Plan) -> Environment:
    """A ready environment for the run: the one it has, one from the warm pool, or a new fork."""
    environments = context.store.environments
    environment = environments.current(plan.run.id) or environments.take_from_pool(
        run_id=plan.run.id, baseline_id=plan.baseline.id, ttl_seconds=plan.project.ttl_seconds
    )
    if environment is not None and environment.state is EnvironmentState.READY:
        try:
            return _open(context, plan, environment)
        except ForkMissing:  # somebody dropped it at the host: the run gets another
            environments.lost(environment.id, reason="the provider no longer has it")
            environment = None
    if environment is None:
        environment = _intend(context, plan.project, plan.baseline, purpose="run", run_id=plan.run.id)
    require_claim(context, plan.run)
    _make(context, plan.project, plan.baseline, environment)
    return _open(context, plan, environment)


def require_claim(context: Context, run: Run) -> None:
    """Raises Fenced where a newer epoch owns the run: a worker that was stopped for a while must not make the fork
    anew in which another one's agent works by now."""
    claim = Claim(run=run, step="", owner=context.owner)
    context.store.runs.heartbeat(claim, lease_seconds=context.settings.worker.lease_seconds)


def provide_for_pool(context: Context, project: Project, baseline: Baseline) -> Environment:
    """A fork made ahead of need, closed to everybody."""
    environment = _intend(context, project, baseline, purpose="pool", run_id=None)
    _make(context, project, baseline, environment)
    context.store.environments.ready(environment.id)
    return environment


def provide_scratch(context: Context, plan: Plan) -> Environment:
    """A short-lived fork on which capture replays the run's ledger."""
    environment = _intend(context, plan.project, plan.baseline, purpose="scratch", run_id=plan.run.id)
    _make(context, plan.project, plan.baseline, environment)
    return _open(context, plan, environment)


def release(
    context: Context, environment: Environment, *, reason: str, pooled: bool = False, idle: bool = False
) -> bool:
    """Destroy the fork and write down what was seen gone. True when nothing of it is left. With `pooled`, not once a
    run has taken it; with `idle`, not while a worker is at work on its run.

    A failure is logged and left to the sweeps, which find the environment in state releasing.
    """
    if environment.state is not EnvironmentState.RELEASING:
        taken = context.store.environments.take_for_release(environment.id, reason=reason, pooled=pooled, idle=idle)
        if taken is None:
            return False
    try:
        return _destroy(context, environment)
    except ForeignResource:
        raise
    except ForkyardError as exc:
        log.warning("release failed; a sweep will try again", environment=environment.name, error=str(exc))
        return False


def stamp_of(context: Context, project: Project, environment: Environment) -> Stamp:
    return Stamp(
        installation=context.installation,
        project=project.name,
        kind="fork",
        resource_id=environment.id,
        run=environment.run_id,
        expires_at=environment.expires_at,
    )


def _intend(context: Context, project: Project, baseline: Baseline, *, purpose: str, run_id: str | None) -> Environment:
    environments = context.store.environments
    environment = environments.intend(
        prefix=resource_name(context.installation, "fork", 1)[:-1],
        purpose=purpose,
        project_id=project.id,
        baseline_id=baseline.id,
        run_id=run_id,
        ttl_seconds=project.ttl_seconds,
    )
    resources = context.provider(project).resources(environment.name)
    environments.add_resources(environment.id, [(resource.kind, resource.name) for resource in resources])
    return environment


def _make(context: Context, project: Project, baseline: Baseline, environment: Environment) -> None:
    provider = context.provider(project)
    provider.create(environment.name, baseline=baseline.name, stamp=stamp_of(context, project, environment))
    with connect(provider.inspect_conninfo(environment.name)) as connection:
        found = read_schema(connection).fingerprint
    if found != baseline.fingerprint:
        raise ProviderError(
            f"The fork {environment.name} does not match baseline {baseline.number}: "
            f"its fingerprint is {found[:19]}…, expected {str(baseline.fingerprint)[:19]}….",
            provider=project.provider,
        )


def _open(context: Context, plan: Plan, environment: Environment) -> Environment:
    context.provider(plan.project).open(environment.name, stamp=stamp_of(context, plan.project, environment))
    context.store.environments.ready(environment.id)
    return environment


def _destroy(context: Context, environment: Environment) -> bool:
    project = context.store.projects.by_id(environment.project_id)
    provider = context.provider(project)
    provider.destroy(environment.name)
    clean = give_back(context, project, environment)
    present = provider.present(environment.name)
    gone = [resource for resource in provider.resources(environment.name) if resource not in present]
    context.store.environments.gone(environment.id, [(resource.kind, resource.name) for resource in gone])
    return clean and not present and context.store.environments.released(environment.id)
