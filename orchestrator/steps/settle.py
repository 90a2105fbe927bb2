"""Settle: merge, hold or discard, then release the fork. The verdict and its reason end the run."""

from __future__ import annotations

import psycopg

from orchestrator.capture.changeset import Changeset
from orchestrator.errors import ForkyardError, MergeDelayed, MergeRefused, PrivilegeMissing, TargetUnreachable
from orchestrator.merge import marker
from orchestrator.merge.replay import MergeReport, merge
from orchestrator.migrations.apply import replay
from orchestrator.runs import Ending, EnvironmentState, Promote, RunState
from orchestrator.secrets import redact
from orchestrator.steps.context import Context, Plan
from orchestrator.steps.driver import Heartbeat
from orchestrator.steps.environment import release
from orchestrator.store import Claim, Project, Run

LOCK_TIMEOUT_SECONDS = 30
STATEMENT_TIMEOUT_SECONDS = 600
MARKER_LOCK_SECONDS = 5


def settle(context: Context, claim: Claim, heartbeat: Heartbeat) -> Ending | None:
    del heartbeat
    plan = context.plan(claim.run)
    ending = _verdict(context, plan)
    _leave(context, plan, ending)
    return ending


def close_marker(context: Context, project: Project, run_id: str) -> Ending | None:
    """Make sure that the run can never be merged any more; Ending.merged where the target says that it was.

    Call it before a run that may have begun to merge ends in any other way. Raises TargetUnreachable.
    """
    conninfo = context.target_conninfo(project)
    try:
        with psycopg.connect(conninfo, connect_timeout=10, application_name="forkyard-marker") as connection:
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            # A worker that hangs inside of its merge holds the lock; it must not hang its rescuer as well.
            connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{MARKER_LOCK_SECONDS}s",))
            if not marker.installed(connection):
                return None  # a target without the table admits no merge at all
            standing = marker.close_run(connection, run_id, installation=context.installation)
    except psycopg.errors.InsufficientPrivilege as exc:
        raise PrivilegeMissing(f"The target refuses its login the table forkyard.merges: {redact(str(exc))}") from None
    except psycopg.OperationalError as exc:
        raise TargetUnreachable(f"The target does not answer: {redact(str(exc).strip())}") from None
    return Ending.merged("its merge had been committed") if standing.outcome == "merged" else None


def _verdict(context: Context, plan: Plan) -> Ending:
    run = plan.run
    if run.ending is not None:
        return _recorded(run)
    if run.verdict == "promote":
        return _merge(context, plan, run.reason or "promoted")
    if run.cancel_requested_at is not None:
        return _cancelled(context, plan)
    match Promote(plan.experiment.promote):
        case Promote.ALL:
            return _merge(context, plan, "the experiment promotes all")
        case Promote.BEST:
            return Ending.candidate()
        case Promote.REVIEW:
            return Ending.held("waits for a person: `forkyard promote` or `forkyard discard`")
        case Promote.NONE:
            return Ending.discarded("the experiment promotes none")


def _cancelled(context: Context, plan: Plan) -> Ending:
    if plan.run.step_tries <= 1:
        return Ending.cancelled()
    try:  # An earlier try of this step may have merged, or may be about to.
        return close_marker(context, plan.project, plan.run.id) or Ending.cancelled()
    except (TargetUnreachable, PrivilegeMissing) as exc:
        return Ending.held(f"cancelled, but whether it was merged is not known: {redact(str(exc))}")


def _recorded(run: Run) -> Ending:
    reason = run.reason or "no reason was recorded"
    match run.ending:
        case RunState.CANCELLED:
            return Ending.cancelled(reason)
        case RunState.DISCARDED:
            return Ending.discarded(reason)
        case _:
            return Ending.failed(reason)


def _merge(context: Context, plan: Plan, why: str) -> Ending:
    run = plan.run
    if run.changeset_hash is None:
        return Ending.failed("There is no changeset to merge.")
    changeset = Changeset.from_json(context.store.artifacts.get(run.changeset_hash))
    try:
        report = merge(
            context.target_conninfo(plan.project),
            changeset,
            run_id=run.id,
            installation=context.installation,
            target_fingerprint=str(plan.baseline.target_fingerprint),
            lock_timeout_seconds=LOCK_TIMEOUT_SECONDS,
            statement_timeout_seconds=STATEMENT_TIMEOUT_SECONDS,
            apply_ledger=replay,
        )
    except (MergeRefused, TargetUnreachable, PrivilegeMissing) as exc:
        if _may_pass(exc) and run.step_tries < context.settings.worker.max_step_tries:
            raise MergeDelayed(_not_merged(run, exc)) from None
        # Whatever the person then mends, at the target or in its rights, the same run can be promoted again.
        return Ending.held(_not_merged(run, exc))
    return Ending.merged(f"{why}; {_words(report)}")


def _may_pass(exc: ForkyardError) -> bool:
    """The target restarts, or somebody else holds a lock: no reason yet to trouble a person."""
    return isinstance(exc, TargetUnreachable) or bool(exc.context.get("retry"))


def _not_merged(run: Run, exc: ForkyardError) -> str:
    said = redact(str(exc)).removeprefix(f"run {run.id} was ")
    return said if said.startswith("not merged") else f"not merged: {said}"


def _words(report: MergeReport) -> str:
    if report.already:
        return "its merge had been committed"
    rows = f"{report.inserted} rows inserted, {report.updated} updated, {report.deleted} deleted"
    return f"{report.migrations} migrations, {rows} in {report.duration_seconds:.2f} s"


def _leave(context: Context, plan: Plan, ending: Ending) -> None:
    """Release what the run no longer needs. Never raises: a merge stands, whatever the clean-up says."""
    look_at = ending.to is RunState.HELD or (ending.to is RunState.FAILED and plan.spec.keep_failed_forks)
    try:
        for environment in context.store.environments.of_run(plan.run.id):
            if look_at and environment.purpose != "scratch" and environment.ready_at is not None:
                context.store.environments.keep(environment.id, reason=f"the run is {ending.to}")
            elif environment.state is not EnvironmentState.RELEASED:  # an earlier try may have died half-way
                release(context, environment, reason=f"the run is {ending.to}")
    except Exception as exc:  # of any kind: after it the driver would call a merged run failed
        context.store.runs.add_event(plan.run.id, "release", f"left to the sweeps: {redact(str(exc))}")
