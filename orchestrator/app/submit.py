"""Submit: an experiment file becomes recorded runs and a batch of work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.app.decide import cancel_experiment
from orchestrator.errors import QueueUnavailable, SpecError
from orchestrator.experiments.load import load
from orchestrator.experiments.plan import plan
from orchestrator.experiments.spec import Experiment
from orchestrator.isolation.archive import pack_folder
from orchestrator.steps.context import Context
from orchestrator.store import ExperimentRow

FILES_LIMIT_BYTES = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What was recorded; `warning` says if the broker could not be told yet."""

    experiment: ExperimentRow
    run_ids: tuple[str, ...]
    warning: str = ""


def submit(context: Context, path: Path, *, only: Sequence[str] = ()) -> Submitted:
    """Check the file, pack its folders, record experiment and runs in one transaction, then send them.

    The baseline is locked from here on. Raises SpecError and NotFound before anything is recorded.
    """
    spec = load(path, only=only)
    project = context.store.projects.get(spec.project)
    if spec.parallel is not None and spec.parallel > project.max_parallel:
        raise SpecError(
            f"parallel is {spec.parallel}, but project {project.name} allows {project.max_parallel} runs at once: "
            f"lower it, or raise the project's limit with `forkyard project add {project.name} --parallel …`.",
            file=str(path),
        )
    baseline = context.store.projects.find_baseline(project, str(spec.baseline))
    experiment, run_ids = context.store.experiments.create(
        name=spec.name,
        spec=json.loads(spec.to_json()),
        files=_pack(context, spec, path.parent),
        runs=[(run.variant, run.repeat, run.seed) for run in plan(spec)],
        dispatch_seconds=context.settings.worker.dispatch_seconds,
        project_id=project.id,
        baseline_id=baseline.id,
        promote=spec.promote.value,
        parallel=spec.parallel or project.max_parallel,
    )
    try:
        context.dispatcher.start(experiment.id, run_ids)
    except QueueUnavailable as exc:
        warning = f"{exc} The runs are recorded and will start when it is back."
        return Submitted(experiment=experiment, run_ids=tuple(run_ids), warning=warning)
    except KeyboardInterrupt:
        # What is recorded would start by itself later, with nobody watching.
        cancel_experiment(context, experiment)
        raise
    return Submitted(experiment=experiment, run_ids=tuple(run_ids))


def _pack(context: Context, spec: Experiment, beside: Path) -> dict[str, str]:
    """Each variant's folder as a stored bundle: workers need no shared disk, and runs see what was submitted."""
    packed: dict[Path, str] = {}
    files: dict[str, str] = {}
    for variant in spec.variants:
        folder = spec.files_folder(variant, beside=beside)
        if folder is None:
            continue
        if folder not in packed:
            packed[folder] = context.store.artifacts.put("files", pack_folder(folder, limit_bytes=FILES_LIMIT_BYTES))
        files[variant] = packed[folder]
    return files
