"""Provision: a fork of the experiment's baseline, proven equal to it, open for the run's agent alone."""

from __future__ import annotations

from orchestrator.runs import Ending
from orchestrator.steps.context import Context
from orchestrator.steps.driver import Heartbeat
from orchestrator.steps.environment import provide
from orchestrator.store import Claim


def provision(context: Context, claim: Claim, heartbeat: Heartbeat) -> Ending | None:
    del heartbeat
    plan = context.plan(claim.run)
    provide(context, plan)
    context.store.runs.store_results(claim, baseline_fingerprint=plan.baseline.fingerprint)
    return None
