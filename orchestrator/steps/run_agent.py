"""Run the agent in its environment, and bring home all that it left: log, result, migrations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from orchestrator.agents import callable as callable_agent
from orchestrator.agents import command, sql
from orchestrator.agents.base import AgentRequest, problem
from orchestrator.agents.environment import agent_environment
from orchestrator.agents.process import end_leftovers, run_process
from orchestrator.agents.result import read_result
from orchestrator.errors import AgentError, AgentInterrupted
from orchestrator.experiments.spec import AgentKind, EnvironmentReference, Variant
from orchestrator.forks.base import Login
from orchestrator.isolation import workspace as workspaces
from orchestrator.migrations.files import Migration, read_folder
from orchestrator.runs import Ending
from orchestrator.secrets import redactor
from orchestrator.settings import process_environment, workspace_root
from orchestrator.steps.context import Context, Plan
from orchestrator.steps.driver import Heartbeat
from orchestrator.steps.environment import provide, release, require_claim
from orchestrator.steps.namespace import lease
from orchestrator.store import Claim, Environment

SHORTEST_SECRET = 8
"""Shorter values, such as `1` or `debug`, are none, and striking them out would garble every log."""
MAX_STARTS = 2
"""An interrupted agent is started once more, on a fresh fork."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folders:
    """The workspace, and where the agent leaves migrations and its result (inside of it)."""

    workspace: Path
    migrations: Path
    result: Path
    log: Path


def run_agent(context: Context, claim: Claim, heartbeat: Heartbeat) -> Ending | None:
    plan = context.plan(claim.run)
    environment = _fresh_environment(context, plan)
    if context.store.runs.count_agent_start(claim) > MAX_STARTS:
        raise AgentInterrupted(f"The agent was interrupted {MAX_STARTS} times; its workers died.")
    with _folders(context, plan, environment) as folders:
        heartbeat.raise_if_stopped()
        variables = _variables(context, plan, environment, folders)
        known = _secrets(plan, variables)
        strike = redactor(*known)
        try:
            _run(context, claim, heartbeat, plan, variables, folders, strike)
        finally:
            if folders.log.exists():
                log_hash = context.store.artifacts.put("log", folders.log.read_bytes())
                context.store.runs.store_results(claim, log_hash=log_hash)
        result = read_result(folders.result)
        metrics = {f"agent.{name}": value for name, value in result.metrics.items()}
        context.store.runs.store_measurements(claim, metrics)
        context.store.runs.store_results(claim, notes=strike(result.notes) or None)
        migrations = read_folder(folders.migrations)
        _refuse_secrets(migrations, known)
        _record_migrations(context, claim, migrations)
    return None


def _fresh_environment(context: Context, plan: Plan) -> Environment:
    """The environment for this start: an interrupted agent's half-used fork is never used again."""
    run = plan.run
    environment = context.store.environments.current(run.id)
    if run.agent_starts == 0 and environment is not None:
        return environment
    if run.agent_starts > 0:
        if not plan.project.restart_interrupted:
            raise AgentInterrupted("The worker died while the agent ran; the project starts no agent twice.")
        if environment is not None:
            end_leftovers(run.id, None, workspace=workspace_root(context.settings) / environment.name)
        require_claim(context, run)
        context.store.ledger.clear(run.id)
        if environment is not None:
            release(context, environment, reason="its agent was interrupted")
    return provide(context, plan)


def _variables(context: Context, plan: Plan, environment: Environment, folders: _Folders) -> dict[str, str]:
    """All the variables of the agent; none for a folder of SQL, which is no process."""
    variant = plan.spec.variants[plan.run.variant]
    if variant.agent.kind is AgentKind.SQL:
        return {}
    return agent_environment(
        run_id=plan.run.id,
        database_url=context.provider(plan.project).conninfo(environment.name, Login.AGENT),
        task=plan.spec.task,
        parameters=variant.parameters,
        seed=plan.run.seed,
        workspace=folders.workspace,
        migrations_dir=folders.migrations,
        result_path=folders.result,
        worker=process_environment(),
        redis_url=lease(context, plan.project, environment),
        extra={
            name: {"env": value.env} if isinstance(value, EnvironmentReference) else value
            for name, value in variant.environment.items()
        },
    )


def _secrets(plan: Plan, variables: dict[str, str]) -> tuple[str, ...]:
    """What the agent was given and nobody else may read: its passwords, and the worker's variables passed on."""
    named = plan.spec.variants[plan.run.variant].environment
    passed_on = [variables[name] for name, value in named.items() if isinstance(value, EnvironmentReference)]
    passwords = [unquote(urlsplit(variables.get(name, "")).password or "") for name in ("DATABASE_URL", "REDIS_URL")]
    return tuple(secret for secret in (*passed_on, *passwords) if len(secret) >= SHORTEST_SECRET)


def _run(
    context: Context,
    claim: Claim,
    heartbeat: Heartbeat,
    plan: Plan,
    variables: dict[str, str],
    folders: _Folders,
    strike: Callable[[str], str],
) -> None:
    variant = plan.spec.variants[plan.run.variant]
    if variant.agent.kind is AgentKind.SQL:
        sql.copy_migrations(".", workspace=folders.workspace, migrations_dir=folders.migrations)
        return
    limits = context.settings.worker
    request = AgentRequest(
        run_id=plan.run.id,
        argv=_argv(variant, folders.workspace, variables["PATH"]),
        environment=variables,
        workspace=folders.workspace,
        log_path=folders.log,
        timeout_seconds=plan.spec.timeout_seconds(plan.run.variant),
        log_limit_bytes=limits.log_limit_bytes,
        workspace_limit_bytes=limits.workspace_limit_bytes,
        process_limit=limits.process_limit,
    )
    outcome = run_process(
        request,
        cancelled=heartbeat.should_stop,
        on_start=lambda group: context.store.runs.record_process(claim, group),
        redact=strike,
    )
    heartbeat.raise_if_stopped()
    context.store.runs.store_results(claim, agent_seconds=outcome.duration_seconds)
    failure = problem(outcome, request)
    if failure is not None:
        raise failure


def _argv(variant: Variant, workspace: Path, path: str) -> tuple[str, ...]:
    if variant.agent.command is not None:
        return command.argv(variant.agent.command, workspace=workspace, path=path)
    return callable_agent.argv(str(variant.agent.callable))


@contextmanager
def _folders(context: Context, plan: Plan, environment: Environment) -> Iterator[_Folders]:
    """A private workspace with the variant's files, and its end, with intent and proof in the registry."""
    root = workspace_root(context.settings)
    resource = ("folder", f"{context.host}:{root / environment.name}")
    context.store.environments.add_resources(environment.id, [resource])
    digest = plan.experiment.files.get(plan.run.variant)
    workspace = workspaces.create(
        root, environment.name, context.store.artifacts.get(digest) if digest is not None else None
    )
    # Beside the workspace and not in it: the agent must not write its own log. Its name is a workspace's, so that a
    # sweep finds it after a crash.
    log_folder = workspaces.create(root, f"{environment.name}_log", None)
    try:
        yield _Folders(
            workspace=workspace,
            migrations=workspaces.migrations_dir(workspace),
            result=workspaces.result_path(workspace),
            log=log_folder / "agent.log",
        )
    finally:
        workspaces.destroy(root, f"{environment.name}_log")
        workspaces.destroy(root, environment.name)
        if not workspaces.present(root, environment.name):
            context.store.environments.gone(environment.id, [resource])


def _refuse_secrets(migrations: Sequence[Migration], known: tuple[str, ...]) -> None:
    """Migrations are kept, shown and merged as they are written, so a secret in one cannot be struck out."""
    for migration in migrations:
        if any(secret in migration.sql for secret in known):
            raise AgentError(
                f"The migration {migration.name} holds a secret that the agent was given, such as its database's "
                "password; migrations are kept, so it was refused."
            )


def _record_migrations(context: Context, claim: Claim, migrations: Sequence[Migration]) -> None:
    """Put what the agent wrote on the ledger, as not yet applied."""
    for position, migration in enumerate(migrations, start=1):
        context.store.ledger.record(
            claim.run.id,
            position,
            name=migration.name,
            original=migration.sql,
            final=None,
            applied=False,
            statements=0,
            duration_seconds=0,
            attempts=(),
            claim=claim,
        )
