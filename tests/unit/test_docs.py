"""The docs say what the code says: drawings, links, words, commands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import pytest

from orchestrator.runs import ENVIRONMENT_TRANSITIONS, TRANSITIONS, EnvironmentState, RunState, Step

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
STATES = (ROOT / "docs/state_machine.md").read_text(encoding="utf-8")


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def drawings() -> list[str]:
    return re.findall(r"```mermaid\n(.*?)```", STATES, re.DOTALL)


def drawn(drawing: str) -> tuple[set[tuple[str, str]], list[str]]:
    """The edges of a drawing, those of a group given to each of its members, and the letters on them."""
    groups: dict[str, set[str]] = {}
    edges: list[tuple[str, str]] = []
    letters: list[str] = []
    group = ""
    for line in drawing.splitlines()[1:]:
        if opened := re.fullmatch(r"\s*state (\w+) \{", line):
            group = opened[1]
        elif line.strip() == "}":
            group = ""
        elif edge := re.fullmatch(r"\s*(\S+) --> (\S+?)(?:: (\w))?", line):
            edges.append((edge[1], edge[2]))
            letters += [edge[3]] if edge[3] else []
            if group:
                groups.setdefault(group, set()).update((edge[1], edge[2]))
    ends = "[*]"
    return {(a, b) for start, b in edges for a in groups.get(start, {start}) if ends not in (a, b)}, letters


@pytest.mark.parametrize(
    ("number", "table"), [(0, TRANSITIONS), (1, ENVIRONMENT_TRANSITIONS)], ids=["run", "environment"]
)
def test_the_drawing_of_the_states_is_the_table(number: int, table: Mapping[StrEnum, frozenset[StrEnum]]) -> None:
    edges, _ = drawn(drawings()[number])
    assert edges == {(str(a), str(b)) for a, following in table.items() for b in following}


@pytest.mark.parametrize(
    ("number", "table"), [(0, TRANSITIONS), (1, ENVIRONMENT_TRANSITIONS)], ids=["run", "environment"]
)
def test_the_drawing_ends_where_the_table_does(number: int, table: Mapping[StrEnum, frozenset[StrEnum]]) -> None:
    ends = set(re.findall(r"^\s*(\w+) --> \[\*\]$", drawings()[number], re.MULTILINE))
    assert ends == {str(state) for state, following in table.items() if not following}
    first = re.findall(r"^\s*\[\*\] --> (\w+)$", drawings()[number], re.MULTILINE)
    assert first == [str(next(iter(table)))]


@pytest.mark.parametrize("number", [0, 1], ids=["run", "environment"])
def test_every_edge_is_explained(number: int) -> None:
    _, letters = drawn(drawings()[number])
    table = STATES.split("| edge | when |")[number + 1].split("\n\n")[0]
    rows = re.findall(r"^\| ([a-z](?:, [a-z])*) \|", table, re.MULTILINE)
    assert sorted(letter for row in rows for letter in row.split(", ")) == sorted(letters)
    assert len(set(letters)) == len(letters)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://", "#")):
            assert (page.parent / target.split("#")[0]).exists(), f"{page_id(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_the_docs_speak_of_the_project_alone(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for word in ("/wo" + "rk/", "/roo" + "t/", "python" + "hosted", "pyp" + "i.org", "TO" + "DO", "FIX" + "ME"):
        assert word not in text


def test_every_page_of_the_docs_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        links = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text(encoding="utf-8"))
        waiting += [(page.parent / link).resolve() for link in links if "://" not in link]
    assert reached >= set(PAGES)


def test_the_glossary_knows_every_state_and_word_of_the_pipeline() -> None:
    glossary = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    defined = set(re.findall(r"^\| \*\*(.+?)\*\* \|", glossary, re.MULTILINE))
    assert {"target", "project", "baseline", "fork", "environment", "run", "changeset", "verdict", "receipt"} <= defined
    assert {str(RunState.HELD), str(RunState.CANDIDATE)} <= defined
    for step in Step:
        assert str(step) in glossary, step


def test_every_state_is_named_where_the_states_are_explained() -> None:
    for state in [*RunState, *EnvironmentState]:
        assert re.search(rf"\b{state}\b", STATES), state


def test_the_picture_of_the_pipeline_needs_no_background_and_no_network() -> None:
    picture = (ROOT / "docs/pipeline.svg").read_text(encoding="utf-8")
    assert "docs/pipeline.svg" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\"]+", picture)) == {"http://www.w3.org/2000/svg"}
    assert "<title" in picture
    assert "<desc" in picture
    assert not re.search(r"fill: ?(#000|black)|fill=\"(#000|black)", picture)
