"""The tree of errors: as drawn, each with a message of its own, an exit code, and a verdict on trying again."""

from __future__ import annotations

import inspect
import re

import pytest

from orchestrator import errors
from orchestrator.errors import ForkyardError, SpecError, UserError

ALL = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, ForkyardError) and kind.__module__ == errors.__name__
]
DRAWING = inspect.getdoc(errors) or ""


def drawn() -> dict[str, tuple[str | None, str]]:
    """Each class of the drawing: (the class above it, what is said of it)."""
    found: dict[str, tuple[str | None, str]] = {}
    path: list[str] = []
    for line in DRAWING.splitlines():
        match = re.fullmatch(r"((?:│   |    |├── |└── )*)([A-Z]\w+)(?:\s{2,}(.*)|\s*)", line.removeprefix("    "))
        if match is None or match[2] not in vars(errors):
            continue
        depth = len(match[1]) // 4
        path[depth:] = [match[2]]
        found[match[2]] = (path[depth - 1] if depth else None, match[3] or "")
    return found


def test_the_drawing_is_the_tree() -> None:
    assert {name: above for name, (above, _) in drawn().items()} == {
        kind.__name__: None if kind is ForkyardError else kind.__bases__[0].__name__ for kind in ALL
    }


@pytest.mark.parametrize("kind", ALL)
def test_the_drawing_says_which_errors_may_pass(kind: type[ForkyardError]) -> None:
    assert drawn()[kind.__name__][1].startswith("retryable") == kind.retryable


@pytest.mark.parametrize("kind", ALL)
def test_the_docstring_is_the_default_message(kind: type[ForkyardError]) -> None:
    message = str(kind())
    assert message == " ".join((kind.__doc__ or "").split())
    assert message[0].isupper()
    assert message.endswith((".", "`."))
    assert str(kind("Said otherwise.")) == "Said otherwise."


def test_no_two_errors_have_the_same_default_message() -> None:
    assert len({str(kind()) for kind in ALL}) == len(ALL)


@pytest.mark.parametrize("kind", ALL)
def test_facts_travel_beside_the_message(kind: type[ForkyardError]) -> None:
    error = kind("Oh.", run="a/b#1", provider="clone")
    assert error.context == {"run": "a/b#1", "provider": "clone"}
    assert str(error) == "Oh."


@pytest.mark.parametrize("kind", ALL)
def test_a_user_s_mistake_exits_with_2_and_is_never_tried_again(kind: type[ForkyardError]) -> None:
    if issubclass(kind, UserError):
        assert (kind.exit_code, kind.retryable) == (2, False)
    else:
        assert kind.exit_code in (1, 2)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ({}, "must be a number"),
        ({"file": "a.yaml"}, "a.yaml: must be a number"),
        ({"file": "a.yaml", "line": 7}, "a.yaml:7: must be a number"),
        ({"line": 7}, "must be a number"),
    ],
)
def test_a_spec_error_names_its_place(place: dict[str, object], text: str) -> None:
    error = SpecError("must be a number", **place)  # type: ignore[arg-type]
    assert str(error) == text
    assert (error.file, error.line) == (place.get("file", ""), place.get("line"))
