"""What becomes of runs that did well: merged, chosen, held, thrown away; and when the target stands in the way."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.runs import RunState
from tests.acceptance.site import Site, behind, edit, migrate, shell, wait_until

MARKED = "SELECT run_id FROM forkyard.merges WHERE outcome = 'merged' ORDER BY 1"
UPPER = "UPDATE customers SET name = upper(name) WHERE id <= {}"


def test_best_merges_the_run_that_the_metric_puts_first_and_discards_the_others(site: Site) -> None:
    target = site.project("best")
    path = site.experiment(
        "pick-best",
        {"some": edit(UPPER.format(50)), "more": edit(UPPER.format(120)), "broken": shell("exit 3")},
        project="best",
        promote="best",
        metrics={"shouting": "SELECT count(*) FROM customers WHERE name = upper(name)"},
        best_by=["shouting"],
    )
    view = site.json("run", path, code=1)
    states = {row["run"]: row["state"] for row in view["runs"]}
    assert states == {
        "pick-best/some#1": "discarded",
        "pick-best/more#1": "merged",
        "pick-best/broken#1": "failed",
    }
    assert view["best_run"] == "pick-best/more#1"
    assert "shouting" in view["summary"]
    reasons = {row["run"]: row["reason"] for row in view["runs"]}
    assert "pick-best/more#1" in reasons["pick-best/some#1"]
    assert "code 3" in reasons["pick-best/broken#1"]
    assert site.query(target, "SELECT count(*) FROM customers WHERE name = upper(name)") == [(120,)]
    assert site.query(target, MARKED) == [("pick-best/more#1",)]
    site.assert_gone(list(states))


def test_all_merges_every_run_that_touches_other_rows_and_holds_the_one_that_comes_too_late(site: Site) -> None:
    target = site.project("everyone")
    path = site.experiment(
        "all-of-them",
        {
            "left": edit("UPDATE customers SET email = 'left' WHERE id = 1"),
            "right": edit("UPDATE customers SET email = 'right' WHERE id = 2"),
            "late": edit("UPDATE customers SET email = 'late' WHERE id IN (1, 2)"),
        },
        project="everyone",
        promote="all",
    )
    runs = site.run(path)
    merged = {name for name, run in runs.items() if run.state is RunState.MERGED}
    held = {name: run.reason or "" for name, run in runs.items() if run.state is RunState.HELD}
    assert merged | set(held) == set(runs)
    assert merged in ({"left#1", "right#1"}, {"late#1"})
    assert len(site.query(target, MARKED)) == len(merged)
    assert all("(first: customers (id=" in reason for reason in held.values()), held
    for name in held:
        assert site.json("discard", f"all-of-them/{name}")["state"] == "discarded"
    site.assert_gone([f"all-of-them/{name}" for name in runs])


def test_none_merges_nothing_and_a_false_check_discards(site: Site) -> None:
    target = site.project("nothing")
    check = {"nobody lost": "SELECT count(*) = 200 FROM customers"}
    good, bad = edit(UPPER.format(5)), edit("DELETE FROM orders; DELETE FROM customers WHERE id = 7")
    runs = site.run(
        site.experiment("none", {"good": good, "bad": bad}, project="nothing", promote="none", checks=check)
    )
    assert {name: run.state for name, run in runs.items()} == dict.fromkeys(runs, RunState.DISCARDED)
    assert runs["good#1"].reason == "the experiment promotes none"
    assert "'nobody lost'" in str(runs["bad#1"].reason)
    assert site.json("show", "none/bad#1")["checks"]["nobody lost"]["ok"] is False
    assert site.query(target, "SELECT count(*) FROM customers WHERE name = upper(name)") == [(0,)]
    assert site.query(target, MARKED) == []
    site.assert_gone([run.id for run in runs.values()])


def test_review_waits_for_a_person_who_promotes_one_run_and_discards_the_other(site: Site) -> None:
    target = site.project("review")
    path = site.experiment(
        "look-first",
        {
            "column": migrate("ALTER TABLE customers ADD COLUMN vip boolean DEFAULT false"),
            "rows": edit(UPPER.format(9)),
        },
        project="review",
        promote="review",
    )
    held = site.run(path)
    assert {run.state for run in held.values()} == {RunState.HELD}
    assert all("forkyard promote" in str(run.reason) for run in held.values())
    assert site.query(target, MARKED) == []
    promoted = site.json("promote", "look-first/column#1")
    assert promoted["state"] == "merged"
    assert site.query(target, "SELECT count(*) FROM customers WHERE vip") == [(0,)]
    assert site.json("discard", "look-first/rows#1")["state"] == "discarded"
    again = site.forkyard("promote", "look-first/rows#1")
    assert again.code == 2
    assert "is discarded: only held runs and candidates" in again.err
    site.assert_gone(["look-first/column#1", "look-first/rows#1"])


def test_a_target_whose_schema_changed_meanwhile_gets_nothing_and_the_report_says_what_to_do(site: Site) -> None:
    target = site.project("schema-drift")
    path = site.experiment("drifted", {"rows": edit(UPPER.format(3))}, project="schema-drift", promote="review")
    site.run(path)
    site.query(target, "ALTER TABLE customers ADD COLUMN sneaked_in integer")
    done = site.forkyard("promote", "drifted/rows#1")
    assert done.code == 1
    assert done.out.startswith("drifted/rows#1 held – not merged: the schema of target schema-drift")
    assert "`forkyard baseline create`" in done.out
    assert site.query(target, MARKED) == []
    assert site.query(target, "SELECT count(*) FROM customers WHERE name = upper(name)") == [(0,)]
    assert site.json("discard", "drifted/rows#1")["state"] == "discarded"
    site.assert_gone(["drifted/rows#1"])


def test_a_row_that_the_target_changed_too_is_named_with_its_three_values(site: Site) -> None:
    target = site.project("row-drift")
    path = site.experiment(
        "touched",
        {"rows": edit("UPDATE customers SET email = 'mine@x.org' WHERE id IN (4, 5)")},
        project="row-drift",
        promote="review",
    )
    site.run(path)
    site.query(target, "UPDATE customers SET email = 'theirs@x.org' WHERE id = 4")
    promoted = site.json("promote", "touched/rows#1", code=1)
    assert promoted["state"] == "held"
    assert promoted["reason"].startswith("not merged: 1 row of customers is in conflict with the target")
    for piece in ("customers (id='4')", "column email", "c4@example.org", "mine@x.org", "theirs@x.org"):
        assert piece in promoted["reason"], promoted["reason"]
    assert site.query(target, "SELECT email FROM customers WHERE id IN (4, 5) ORDER BY id") == [
        ("theirs@x.org",),
        ("c5@example.org",),
    ]
    # The person puts the row back: the same run can then be promoted.
    site.query(target, "UPDATE customers SET email = 'c4@example.org' WHERE id = 4")
    assert site.json("promote", "touched/rows#1")["state"] == "merged"
    site.assert_gone(["touched/rows#1"])


def test_an_experiment_keeps_its_baseline_while_a_newer_one_is_made(site: Site, tmp_path: Path) -> None:
    target = site.project("refresh")
    fifth = {"fifth": "SELECT count(*) FROM customers WHERE name = 'customer 5'"}
    gate = tmp_path / "gate"
    path = site.experiment("holder", {"slow": behind(gate)}, project="refresh", promote="none", metrics=fifth)
    handle = site.submit(path)
    site.query(target, "UPDATE customers SET name = 'changed' WHERE id = 5")
    made = site.json("baseline", "create", "refresh", "--label", "second")
    assert (made["number"], made["label"]) == (2, "second")
    listed = {row["number"]: row for row in site.json("baseline", "list", "refresh")}
    assert (listed[1]["state"], listed[1]["in_use"]) == ("sealed", 1)
    refused = site.forkyard("baseline", "release", "refresh", "1")
    assert refused.code == 2
    assert (
        "Baseline 1 of refresh is in use by experiment holder, the fork of run holder/slow#1: let them" in refused.err
    )
    gate.touch()
    old = site.finished(handle)["slow#1"]
    new = site.run(site.experiment("newer", {"quick": shell("true")}, project="refresh", promote="none", metrics=fifth))
    shown = {run.id: site.json("show", run.id) for run in (old, new["quick#1"])}
    assert {name: (view["baseline"], view["metrics"]["fifth"]) for name, view in shown.items()} == {
        "holder/slow#1": (1, 1.0),
        "newer/quick#1": (2, 0.0),
    }
    assert [view["baseline_fingerprint"] for view in shown.values()] == [listed[1]["fingerprint"], made["fingerprint"]]
    assert site.json("compare", "newer")["baseline"] == 2
    assert site.json("baseline", "release", "refresh", "1")["released"] is True
    assert {row["number"]: row["state"] for row in site.json("baseline", "list", "refresh")}[1] == "released"


def test_no_more_runs_hold_a_slot_than_project_and_experiment_allow(site: Site, tmp_path: Path) -> None:
    site.project("narrow", max_parallel=2)
    gate = tmp_path / "gate"
    path = site.experiment("queue", {"waits": behind(gate)}, project="narrow", promote="none", repeats=6)
    handle = site.submit(path)

    def held_and_parked() -> tuple[int, int]:
        runs = site.runs(handle).values()
        return sum(run.slot_held for run in runs), sum(run.parked_at is not None for run in runs)

    wait_until(lambda: held_and_parked() == (2, 4), 30, "two runs with a slot and four parked ones")
    gate.touch()
    store = site.installation.context.store
    held = [2]
    while store.experiments.by_handle(handle).finished_at is None:
        held.append(held_and_parked()[0])
        assert len(held) < 10_000
    assert max(held) == 2
    overlap = site.query(
        site.registry,
        "SELECT max(n) FROM (SELECT (SELECT count(*) FROM forkyard_registry.step_attempts b WHERE b.step = 'run_agent'"
        " AND b.run_id LIKE 'queue/%%' AND b.started_at <= a.started_at AND b.finished_at > a.started_at) AS n"
        " FROM forkyard_registry.step_attempts a WHERE a.step = 'run_agent' AND a.run_id LIKE 'queue/%%') AS at_once",
    )
    assert overlap == [(2,)]
    too_many = site.experiment("greedy", {"nap": shell("true")}, project="narrow", promote="none", parallel=3)
    refused = site.forkyard("submit", too_many)
    assert refused.code == 2
    assert re.search(r"parallel is 3, but project narrow allows 2", refused.err)


def test_runs_take_ready_forks_from_the_pool_which_is_filled_again(site: Site) -> None:
    site.project("pooled", pool_size=2)
    store = site.installation.context.store
    project = store.projects.get("pooled")

    def pool() -> set[str]:
        rows = store.environments.open(project.id)
        return {row["name"] for row in rows if row["purpose"] == "pool" and row["state"] == "ready"}

    wait_until(lambda: len(pool()) == 2, 20, "a full pool")
    ready = pool()
    path = site.experiment("from-pool", {"quick": shell("true")}, project="pooled", promote="none", repeats=2)
    runs = site.run(path)
    used = {line["environment"] for run in runs.values() for line in site.json("receipt", run.id)}
    assert used == ready
    wait_until(lambda: len(pool()) == 2 and not pool() & ready, 20, "a pool of new forks")
    site.assert_gone([run.id for run in runs.values()])
    # Pool 0 switches it off, and what was ready goes.
    options = ("--target", site.targets["pooled"], "--pool", "0")
    assert site.json("project", "add", "pooled", *options)["pool_size"] == 0
    wait_until(lambda: not pool(), 20, "an empty pool")


def test_a_failed_runs_fork_is_kept_to_look_at_where_the_experiment_says_so(site: Site) -> None:
    site.project("keeper", ttl_seconds=3600)
    crash = shell("exit 9")
    runs = site.run(
        site.experiment(
            "kept", {"crash": crash, "other": crash}, project="keeper", promote="none", keep_failed_forks=True
        )
    )
    assert {run.state for run in runs.values()} == {RunState.FAILED}
    forks = {line["name"]: line["left"] for line in site.json("receipt", "kept/crash#1") if line["kind"] == "database"}
    assert set(forks.values()) == {"kept to look at"}
    assert set(forks) <= site.at_provider()
    # Sweeps know that a person wants to look at it; its time to live still counts.
    assert not [f for f in site.json("sweep", "--only", "expire") if f["name"] in forks]
    site.query(
        site.registry,
        "UPDATE forkyard_registry.environments SET expires_at = now() WHERE name = ANY (%s)",
        list(forks),
    )
    site.assert_gone(["kept/crash#1"])
    # Who has seen enough need not wait for that.
    assert site.json("discard", "kept/other#1")["state"] == "failed"
    site.assert_gone(["kept/other#1"], within=1)
    assert "only held runs, candidates and kept forks can be discarded" in site.forkyard("discard", "kept/other#1").err
