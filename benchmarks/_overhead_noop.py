"""The Celery app of the Forkyard workers in overhead.py: the real tasks and the real registry, no work within.

A run of variant `noop` has five stages that do nothing. A run of variant `environment` also has the registry's part
of provision and settle, against a provider that does nothing.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.app import context as composition
from orchestrator.forks.base import Resource
from orchestrator.runs import Ending, Step
from orchestrator.steps import environment, pipeline
from orchestrator.steps.context import Context
from orchestrator.steps.driver import Act, Heartbeat
from orchestrator.store import Baseline, Claim, Environment, Project
from workers.app import app

__all__ = ["app"]


class NullProvider:
    """Answers at once and does nothing: the calls that provision and settle make of a provider."""

    def create(self, *_: object, **__: object) -> None: ...
    def open(self, *_: object, **__: object) -> None: ...
    def destroy(self, *_: object, **__: object) -> None: ...

    def resources(self, name: str) -> tuple[Resource, ...]:
        return Resource(kind="database", name=name), Resource(kind="role", name=name)

    def present(self, *_: object) -> frozenset[Resource]:
        return frozenset()


def without_work(step: Step, real: Act) -> Act:
    """The stage's act for runs that have none; provision and settle stay real where the environment is recorded."""

    def act(context: Context, claim: Claim, heartbeat: Heartbeat) -> Ending | None:
        if claim.run.variant == "environment" and step in (Step.PROVISION, Step.SETTLE):
            return real(context, claim, heartbeat)
        return Ending.discarded("the experiment promotes none") if step is Step.SETTLE else None

    return act


def create_only(context: Context, project: Project, baseline: Baseline, made: Environment) -> None:
    """Stands in for create and the look at the fork's schema, which are the provider's time."""
    stamp = environment.stamp_of(context, project, made)
    context.provider(project).create(made.name, baseline=baseline.name, stamp=stamp)


vars(composition).update(open_provider=lambda *_, **__: NullProvider())
vars(environment).update(_make=create_only)
for step, stage in pipeline.STAGES.items():
    pipeline.STAGES[step] = replace(stage, act=without_work(step, stage.act))
