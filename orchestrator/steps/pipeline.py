"""The pipeline: which step follows which, and what each does."""

from orchestrator.runs import Step
from orchestrator.steps.apply_migrations import apply_migrations
from orchestrator.steps.capture import capture
from orchestrator.steps.driver import Stage
from orchestrator.steps.provision import provision
from orchestrator.steps.run_agent import run_agent
from orchestrator.steps.settle import settle

PIPELINE: tuple[Stage, ...] = (
    Stage(Step.PROVISION, provision),
    Stage(Step.RUN_AGENT, run_agent),
    Stage(Step.APPLY_MIGRATIONS, apply_migrations),
    Stage(Step.CAPTURE, capture),
    Stage(Step.SETTLE, settle, runs_when_ending=True),
)
"""What follows `acquire`, in order."""

STAGES = {stage.step: stage for stage in PIPELINE}

__all__ = ["PIPELINE", "STAGES"]
