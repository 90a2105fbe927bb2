from __future__ import annotations

import builtins
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from orchestrator.errors import SettingsError
from orchestrator.experiments.compare import RunResult
from orchestrator.experiments.report import AttemptLine, ReceiptLine, ReportData, TableLine, render
from orchestrator.runs import RunState

FINGERPRINT = "sha256:" + "ab12" * 16
EVIL = "<script>alert(1)</script> \" onload='x' $\\frac{1}$ {{ 7 * 7 }} \udcff\x00\x1b[31m </svg>"


def run(name: str, state: RunState, *, reason: str = "", duplicates: float | None = 0, **facts: Any) -> RunResult:
    variant, _, repeat = name.partition("#")
    return RunResult(
        run_id=f"clean/{name}",
        variant=variant,
        repeat=int(repeat),
        state=state,
        reason=reason,
        metrics={} if duplicates is None else {"duplicates": duplicates},
        duration_seconds=1.25,
        **{"baseline_version": 3, "fingerprint": FINGERPRINT, **facts},
    )


def data(results: Sequence[RunResult], **more: Any) -> ReportData:
    return ReportData(
        experiment="clean", project="shop", promote="best", best_by=["-duplicates"], results=results, **more
    )


FULL = data(
    [
        run(
            "careful#1",
            RunState.MERGED,
            reason="lowest duplicates: 0",
            rows_inserted=3,
            rows_updated=1200,
            rows_deleted=7,
        ),
        run(
            "hasty#1",
            RunState.DISCARDED,
            reason="clean/careful#1 was better",
            duplicates=9,
            fix_attempts=2,
            migrations=2,
        ),
        run("broken#1", RunState.FAILED, reason="the agent exited with code 1", duplicates=None),
    ],
    baseline_version=3,
    fingerprint=FINGERPRINT,
    submitted_at=datetime(2025, 1, 1, 12, tzinfo=UTC),
    finished_at=datetime(2025, 1, 1, 12, 2, 5, tzinfo=UTC),
    agents={"careful": "python careful.py"},
    attempts={"clean/hasty#1": [AttemptLine(migration="010.sql", number=2, fixer="dialect", error="42601 syntax")]},
    tables={"clean/careful#1": [TableLine(table="public.customers", inserted=3)]},
    receipt=[ReceiptLine(kind="databases", created=3, released=3)],
    notes=["rules only"],
)


class _Page(HTMLParser):
    """Collects tags and attributes, and insists that tags are balanced."""

    void = frozenset({"meta", "link", "img", "br", "path", "use"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag


def parse(html: str) -> list[tuple[str, Mapping[str, str | None]]]:
    page = _Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page.tags


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    html = render(FULL)
    tags = parse(html)
    assert not {tag for tag, _ in tags} & {"script", "link", "iframe", "object", "embed", "img", "image", "form"}
    for tag, attributes in tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                assert (value or "").startswith("#"), (tag, name, value)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    policy = next(attributes for tag, attributes in tags if attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_the_page_says_what_was_merged_and_why() -> None:
    html = render(FULL)
    assert "Merged clean/careful#1" in html
    for text in (
        "lowest duplicates: 0",
        "clean/careful#1 was better",
        FINGERPRINT,
        "version 3",
        "after 2 min 5 s",
        "42601 syntax",
        "public.customers",
        '+3</span> <span class="muted">~1,200',
        "rules only",
        "Everything that the runs made is gone.",
    ):
        assert text in html, text


def test_the_same_data_gives_the_same_file() -> None:
    assert render(FULL) == render(FULL)


def test_ids_are_unique_and_references_resolve() -> None:
    tags = parse(render(FULL))
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    references = [attributes["xlink:href"] for tag, attributes in tags if tag == "use"]
    assert references
    assert {str(reference).removeprefix("#") for reference in references} <= set(ids)
    assert all(value in ids for value in re.findall(r"url\(#([^)]+)\)", render(FULL)))


def test_plots_take_their_colours_from_the_page_and_show_every_run() -> None:
    html = render(FULL)
    svg = html[html.index("<svg") : html.index("</svg>")]
    assert "var(--series-0)" in svg
    assert not re.search(r"#0[0-9a-f]{5}", svg)
    assert "<title>clean/careful#1: 0 (merged)</title>" in svg
    assert "<title>clean/hasty#1: 9 (discarded)</title>" in svg
    assert 'aria-label="duplicates"' in svg


def test_a_page_of_very_many_runs_stays_small_and_still_marks_the_winner() -> None:
    results = [run(f"a#{repeat}", RunState.DISCARDED, duplicates=repeat) for repeat in range(1, 300)]
    html = render(data([*results, run("a#300", RunState.MERGED, duplicates=0)]))
    svg = html[html.index("<svg") : html.index("</svg>")]
    assert len(svg) < 60_000
    assert svg.count("<title>") == 1
    assert "<title>clean/a#300: 0 (merged)</title>" in svg


def test_what_agents_wrote_is_text_and_never_markup() -> None:
    results = [run("careful#1", RunState.HELD, reason=EVIL, duplicates=1, checks={EVIL: False})]
    results[0].metrics[EVIL] = 3.0  # type: ignore[index]
    html = render(
        data(
            results,
            task=EVIL,
            reason=EVIL,
            notes=[EVIL],
            agents={"careful": EVIL},
            baseline_label=EVIL,
            attempts={"clean/careful#1": [AttemptLine(migration=EVIL, number=1, fixer=EVIL, error=EVIL)]},
            tables={"clean/careful#1": [TableLine(table=EVIL)]},
            receipt=[ReceiptLine(kind=EVIL, created=2, released=1, left=EVIL)],
        )
    )
    tags = parse(html)
    assert "script" not in {tag for tag, _ in tags}
    assert not [attributes for _, attributes in tags if "onload" in attributes]
    assert "{{ 7 * 7 }}" in html
    assert html.isprintable() or not re.search(r"[\x00-\x08\x0b-\x1f\ud800-\udfff]", html)
    html.encode()


@pytest.mark.parametrize(
    ("state", "promote", "says"),
    [
        (RunState.HELD, "review", "1 run is waiting for a verdict"),
        (RunState.DISCARDED, "none", "nothing was to be merged"),
        (RunState.DISCARDED, "best", "no run passed"),
    ],
)
def test_the_headline_says_why_nothing_was_merged(state: RunState, promote: str, says: str) -> None:
    report = ReportData(experiment="clean", project="shop", promote=promote, results=[run("a#1", state)])
    assert says in render(report)


def test_runs_that_cannot_be_compared_get_no_plots() -> None:
    other = run("b#1", RunState.CANDIDATE, fingerprint="sha256:" + "f" * 64, baseline_version=4)
    html = render(data([run("a#1", RunState.CANDIDATE), other]))
    assert "<svg" not in html
    assert "not comparable: runs started from different baselines" in html


def test_an_experiment_without_any_result_still_has_a_page() -> None:
    assert "Nothing was merged" in render(data([]))
    assert "<svg" not in render(data([run("a#1", RunState.CANCELLED, fingerprint=None, duplicates=None)]))


def test_what_is_left_is_said_on_the_receipt() -> None:
    left = ReceiptLine(kind="databases", created=3, released=2, left="kept to be looked at")
    html = render(data([], receipt=[left, ReceiptLine(kind="roles", created=3, released=1)]))
    assert "kept to be looked at" in html
    assert "2 not accounted for" in html
    assert "Not everything is gone yet." in html


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match=rf"needs {package}, .*forkyard\[report\]"):
        render(FULL)
