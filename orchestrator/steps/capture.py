"""Capture: prove what the run changed, measure it, and store the changeset. Afterwards the fork is not needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from orchestrator.capture.changeset import Changeset, LedgerEntry
from orchestrator.capture.fingerprint import read_schema
from orchestrator.capture.metrics import run_checks, run_metrics
from orchestrator.capture.rows import diff_sequences, diff_tables
from orchestrator.capture.schema import SchemaSnapshot, diff_schema
from orchestrator.errors import CaptureError
from orchestrator.forks.base import Login
from orchestrator.migrations.apply import replay
from orchestrator.runs import Ending
from orchestrator.steps.connections import connect
from orchestrator.steps.context import Context, Discard, Plan
from orchestrator.steps.driver import Heartbeat
from orchestrator.steps.environment import provide_scratch, release
from orchestrator.store import Claim, Environment

METRIC_TIMEOUT_SECONDS = 60


def capture(context: Context, claim: Claim, heartbeat: Heartbeat) -> Ending | None:
    plan = context.plan(claim.run)
    environment = context.store.environments.current(claim.run.id)
    if environment is None:
        raise CaptureError("The fork is gone, so its change cannot be captured.")
    provider = context.provider(plan.project)
    provider.close(environment.name)
    heartbeat.raise_if_stopped()
    ledger = tuple(
        LedgerEntry(name=row["name"], sql=row["final"])
        for row in context.store.ledger.of_run(claim.run.id)
        if row["applied"]
    )
    conninfo = provider.conninfo(environment.name, Login.CAPTURE)
    with connect(provider.baseline_conninfo(plan.baseline.name)) as base, connect(conninfo) as fork:
        changeset = _changeset(context, plan, ledger, base, fork, environment)
    heartbeat.raise_if_stopped()
    digest = context.store.artifacts.put("changeset", changeset.to_json())
    context.store.runs.store_results(claim, changeset_hash=digest, baseline_fingerprint=plan.baseline.fingerprint)
    context.store.runs.store_measurements(claim, changeset.facts())
    _measure(context, claim, plan, conninfo)
    return None


def _changeset(
    context: Context,
    plan: Plan,
    ledger: tuple[LedgerEntry, ...],
    base: psycopg.Connection[Any],
    fork: psycopg.Connection[Any],
    environment: Environment,
) -> Changeset:
    before = read_schema(base)
    if before.fingerprint != plan.baseline.fingerprint:
        raise CaptureError(f"Baseline {plan.baseline.number} is not what was sealed; take a new one.")
    roles = _neutral(environment)
    after = read_schema(fork, role_names=roles)
    if not ledger:
        return Changeset(
            baseline_fingerprint=before.fingerprint,
            tables=diff_tables(base, fork),
            sequences=diff_sequences(base, fork),
            schema_changes=diff_schema(before, after),
            unrecorded=diff_schema(before, after),
        )
    with _replayed(context, plan, ledger) as (reference, expected):
        return Changeset(
            baseline_fingerprint=before.fingerprint,
            ledger=ledger,
            tables=diff_tables(reference, fork, base=base),
            sequences=diff_sequences(base, fork),
            schema_changes=diff_schema(before, after),
            unrecorded=diff_schema(expected, after),
        )


@contextmanager
def _replayed(
    context: Context, plan: Plan, ledger: tuple[LedgerEntry, ...]
) -> Iterator[tuple[psycopg.Connection[Any], SchemaSnapshot]]:
    """A scratch fork of the baseline on which only the ledger ran: what it differs in from the run's fork is the
    agent's own work."""
    scratch = provide_scratch(context, plan)
    try:
        provider = context.provider(plan.project)
        with connect(provider.conninfo(scratch.name, Login.AGENT)) as connection:
            with connection.transaction():
                replay(connection, ledger)
            yield connection, read_schema(connection, role_names=_neutral(scratch))
    finally:
        release(context, scratch, reason="capture is done with it")


def _neutral(environment: Environment) -> dict[str, str]:
    """Every fork has a login of its own name; in fingerprints it must not show."""
    return {environment.name: "<agent>"}


def _measure(context: Context, claim: Claim, plan: Plan, conninfo: str) -> None:
    spec = plan.spec
    metrics = run_metrics(conninfo, spec.metrics, METRIC_TIMEOUT_SECONDS)
    context.store.runs.store_measurements(claim, metrics)
    checks = run_checks(conninfo, spec.checks, METRIC_TIMEOUT_SECONDS)
    context.store.runs.store_checks(claim, [(check.name, check.ok, check.detail) for check in checks])
    failed = [check for check in checks if not check.ok]
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise Discard(f"The check {failed[0].name!r} does not hold: {failed[0].detail}{more}.")
