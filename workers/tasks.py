"""One thin task per step, the cleanup, the summary and the sweeps. Arguments are ids, nothing else."""

from __future__ import annotations

from orchestrator.maintenance import SWEEPS, rescue, run_sweep
from orchestrator.runs import Step
from orchestrator.steps.acquire import acquire as acquire_slot
from orchestrator.steps.driver import perform
from orchestrator.steps.pipeline import STAGES
from orchestrator.steps.summarise import summarise as summarise_experiment
from workers.app import app
from workers.context import context
from workers.task import ForkyardTask, options, settle_outcome

HOUR = 3600


@app.task(name="forkyard.acquire", **options(time_limit=HOUR))
def acquire(self: ForkyardTask, run_id: str) -> None:
    """Take one of the project's slots, or park."""
    self.attempt(lambda: settle_outcome(self, acquire_slot(context(), run_id, self.continuation())))


def _step(task: ForkyardTask, step: Step, run_id: str) -> None:
    task.attempt(lambda: settle_outcome(task, perform(context(), STAGES[step], run_id)))


@app.task(name="forkyard.provision", **options(time_limit=HOUR))
def provision(self: ForkyardTask, run_id: str) -> None:
    """Make the run's fork."""
    _step(self, Step.PROVISION, run_id)


@app.task(name="forkyard.run_agent", **options(time_limit=24 * HOUR))
def run_agent(self: ForkyardTask, run_id: str) -> None:
    """Run the agent on its fork."""
    _step(self, Step.RUN_AGENT, run_id)


@app.task(name="forkyard.apply_migrations", **options(time_limit=HOUR))
def apply_migrations(self: ForkyardTask, run_id: str) -> None:
    """Apply what the agent wrote, repairing it."""
    _step(self, Step.APPLY_MIGRATIONS, run_id)


@app.task(name="forkyard.capture", **options(time_limit=HOUR))
def capture(self: ForkyardTask, run_id: str) -> None:
    """Prove and store what changed."""
    _step(self, Step.CAPTURE, run_id)


@app.task(name="forkyard.settle", **options(time_limit=HOUR))
def settle(self: ForkyardTask, run_id: str) -> None:
    """Merge, hold or discard; release the fork."""
    _step(self, Step.SETTLE, run_id)


@app.task(name="forkyard.cleanup", **options(time_limit=HOUR))
def cleanup(self: ForkyardTask, run_id: str) -> None:
    """What runs when a step's task died: the run goes on elsewhere, or ends."""
    self.attempt(lambda: rescue.cleanup(context(), run_id))


@app.task(name="forkyard.summarise", **options(time_limit=HOUR))
def summarise(self: ForkyardTask, experiment_id: int) -> None:
    """Choose the best candidate, or close the experiment."""
    self.attempt(lambda: summarise_experiment(context(), experiment_id))


@app.task(name="forkyard.sweep", **options(time_limit=HOUR))
def sweep(self: ForkyardTask, name: str) -> None:
    """One pass of a sweep."""

    def work() -> None:
        run_sweep(context(), name, SWEEPS[name])

    self.attempt(work)


STEP_TASKS = (acquire, provision, run_agent, apply_migrations, capture, settle)
"""The pipeline's tasks in order; a run's `steps_done` counts them."""
