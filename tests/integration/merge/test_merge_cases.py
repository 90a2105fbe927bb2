"""Every folder of tests/fixtures/merge is a case: a.sql is the baseline, ledger/*.sql the run's migrations, run.sql
what the run did beside them, target.sql what happened to the target meanwhile; expected.txt says what a merge gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import MergeRefused

CASES = Path(__file__).parents[2] / "fixtures" / "merge"


def text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_a_merge_gives_what_the_case_expects(world, case):
    folder = CASES / case
    world.prepare(
        text(folder / "a.sql"),
        ledger=[(path.name, path.read_text()) for path in sorted((folder / "ledger").glob("*.sql"))],
        run=text(folder / "run.sql"),
        target=text(folder / "target.sql"),
    )
    outcome, *expected = text(folder / "expected.txt").splitlines()
    if outcome == "refused":
        before = contents(world)
        with pytest.raises(MergeRefused) as refused:
            world.merge()
        assert refused.value.context.get("report", str(refused.value)).splitlines() == expected
        assert contents(world) == before, "a refused merge must leave the target as it was"
        return
    report = world.merge()
    assert f"inserted={report.inserted} updated={report.updated} deleted={report.deleted}" == outcome
    for line in expected:
        query, _, value = line.rpartition(" -> ")
        assert str(world.value("target", query)) == value, query
    if not (folder / "target.sql").exists():
        assert world.target_equals_fork()
    assert world.merge().already


def contents(world):
    """The target's rows, schema and markers."""
    with world.connect("target") as conn:
        tables = conn.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        return {
            name: sorted(row[0] for row in conn.execute(f'SELECT t::text FROM "{name[0]}"."{name[1]}" t'.encode()))
            for name in tables
        }
