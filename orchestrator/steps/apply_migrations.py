"""Apply the migrations that the agent left, in order, each repaired in at most three tries."""

from __future__ import annotations

from typing import Any

import psycopg

from orchestrator.errors import ProviderUnavailable
from orchestrator.forks.base import Login
from orchestrator.llm import ChatModel
from orchestrator.migrations.apply import apply_migration, committed
from orchestrator.migrations.files import Migration
from orchestrator.migrations.fixers import RULES
from orchestrator.migrations.fixers.base import Fixer
from orchestrator.migrations.fixers.llm import LlmFixer
from orchestrator.migrations.records import Attempt, MigrationOutcome
from orchestrator.runs import Ending
from orchestrator.secrets import redact
from orchestrator.settings import Settings
from orchestrator.steps.connections import connect
from orchestrator.steps.context import Context, Discard
from orchestrator.steps.driver import Heartbeat
from orchestrator.steps.environment import stamp_of
from orchestrator.store import AttemptRow, Claim


def apply_migrations(context: Context, claim: Claim, heartbeat: Heartbeat) -> Ending | None:
    run = claim.run
    pending = [row for row in context.store.ledger.of_run(run.id) if not row["applied"]]
    if not pending:
        return None
    environment = context.store.environments.current(run.id)
    if environment is None:
        raise Discard("The fork is gone, so its migrations cannot be applied.")
    project = context.store.projects.by_id(run.project_id)
    provider = context.provider(project)
    if context.settings.llm is None:
        context.store.runs.add_event(run.id, "fixers", "no language model is configured: rules only")
    fixers = fixers_for(context.settings)
    if run.step_tries > 1:
        # A worker died here, or was cut off: its session may still run a migration, whose locks would fail this try.
        provider.close(environment.name)
        provider.open(environment.name, stamp=stamp_of(context, project, environment))
    with connect(provider.conninfo(environment.name, Login.AGENT)) as connection:
        for row in pending:
            heartbeat.raise_if_stopped()
            if row["transaction_id"] is not None and _was_committed(context, claim, connection, row):
                continue
            outcome = _apply(context, claim, connection, row, fixers)
            if not outcome.applied:
                raise Discard(_refusal(outcome))
    return None


def fixers_for(settings: Settings) -> tuple[Fixer, ...]:
    """Rules first; the language model last, where one is configured."""
    if settings.llm is None:
        return RULES
    key = settings.llm.api_key
    model = ChatModel(
        base_url=settings.llm.base_url,
        model=settings.llm.model,
        api_key=key.get_secret_value() if key else "",
        timeout_seconds=settings.llm.timeout_seconds,
    )
    return (*RULES, LlmFixer(model=model))


def _apply(
    context: Context, claim: Claim, connection: psycopg.Connection[Any], row: dict[str, Any], fixers: tuple[Fixer, ...]
) -> MigrationOutcome:
    run_id, position, ledger = claim.run.id, row["position"], context.store.ledger

    def note(transaction_id: str, text: str) -> None:
        ledger.about_to_commit(claim, position, transaction_id=transaction_id, ran=text)

    migration = Migration(name=row["name"], sql=row["original"])
    outcome = apply_migration(connection, migration, fixers=fixers, before_commit=note)
    ledger.record(
        run_id,
        position,
        name=outcome.name,
        original=outcome.original,
        final=outcome.final,
        applied=outcome.applied,
        statements=outcome.statements,
        duration_seconds=outcome.duration_seconds,
        attempts=[_attempt_row(attempt) for attempt in outcome.attempts],
        claim=claim,
    )
    return outcome


def _was_committed(context: Context, claim: Claim, connection: psycopg.Connection[Any], row: dict[str, Any]) -> bool:
    """Whether an earlier attempt of this step, whose worker died, had committed the migration in the fork."""
    answer = committed(connection, row["transaction_id"])
    if answer is None:
        raise ProviderUnavailable(f"The migration {row['name']} of a dead worker has not ended yet.")
    if answer:
        context.store.ledger.was_committed(claim, row["position"])
    return answer


def _attempt_row(attempt: Attempt) -> AttemptRow:
    error = attempt.error
    return AttemptRow(
        number=attempt.number,
        fixer=attempt.fixer,
        sql=attempt.sql,
        sqlstate=error.sqlstate if error else None,
        message=redact(error.message) if error else None,
        error_position=error.position if error else None,
        duration_seconds=attempt.duration_seconds,
        tokens=attempt.tokens,
        cost=attempt.cost,
    )


def _refusal(outcome: MigrationOutcome) -> str:
    tries = len(outcome.attempts)
    error = outcome.error
    said = f"{error.sqlstate or 'refused'}: {error.message}" if error else "unknown error"
    return redact(
        f"The migration {outcome.name} could not be applied in {tries} {'try' if tries == 1 else 'tries'} ({said})."
    )
