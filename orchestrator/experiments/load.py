"""From an experiment file to a checked Experiment, or to one sentence about the first mistake."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from orchestrator.experiments.document import read_document
from orchestrator.experiments.meaning import check_meaning
from orchestrator.experiments.problems import first_problem
from orchestrator.experiments.spec import Experiment


def load(path: Path | str, *, only: Sequence[str] = ()) -> Experiment:
    """Read, check and normalise an experiment file; `only` keeps some of its variants.

    Raises SpecError with file, line, what is wrong and a suggestion: one mistake at a time, the first in the file.
    """
    document = read_document(Path(path))
    if not isinstance(document.values, dict):
        raise document.error((), "the file must hold 'key: value' lines, beginning with 'experiment: a-name'")
    try:
        experiment = Experiment.model_validate(document.values)
    except ValidationError as exc:
        raise first_problem(exc, document, Experiment) from None
    check_meaning(experiment, document, beside=Path(path).parent)
    return experiment.only(only)
