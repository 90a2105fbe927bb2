"""The whole pipeline in one process, on forks of the `clone` provider."""

from __future__ import annotations

import pytest

from orchestrator.app.decide import discard
from orchestrator.runs import RunState
from orchestrator.settings import LlmSettings
from orchestrator.testing.scripted_llm import Asked, Reply, ScriptedLlm
from tests.shop import Shop

KEY = "sk-hunter2-of-the-model"
BROKEN = "UPDATE customers SET shoe_size = lower(email) WHERE id BETWEEN 11 AND 19;"
REPAIRED = BROKEN.replace("shoe_size", "email")


def ask(shop: Shop, llm: ScriptedLlm) -> None:
    """The installation repairs migrations with this model."""
    settings = LlmSettings(base_url=llm.base_url, model="tiny", api_key=KEY, timeout_seconds=5)  # type: ignore[arg-type]
    shop.context.settings = shop.context.settings.model_copy(update={"llm": settings})


def everything_in_the_registry(shop: Shop) -> str:
    store = shop.context.store
    with store.database.connection() as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'forkyard_registry' AND tablename <> 'artifact_chunks'"
        ).fetchall()
        names = [row["tablename"] for row in tables]
        return "\n".join(str(connection.execute(f"SELECT t::text FROM {name} t").fetchall()) for name in names)


def in_lower_case(shop: Shop) -> int:
    [(count,)] = shop.query("SELECT count(*) FROM customers WHERE email = lower(email)")
    return int(count)


def test_the_best_run_is_merged_once_and_nothing_is_left_though_every_message_arrives_twice(shop: Shop) -> None:
    good = "\n".join(
        [
            shop.psql("UPDATE customers SET name = upper(name) WHERE id <= 5"),
            shop.migration("INSERT INTO log VALUES ('migrated',);"),
            """echo '{"metrics": {"turns": 3}, "notes": "all fine"}' > "$FORKYARD_RESULT" """,
        ]
    )
    runs = shop.run(
        {
            "good": good,
            "lazy": shop.psql("UPDATE customers SET name = upper(name) WHERE id = 9"),
            "unsafe": shop.psql("DELETE FROM customers WHERE id = 1"),
        },
        copies=2,
        promote="best",
        metrics={"shouting": "SELECT count(*) FROM customers WHERE name = upper(name)"},
        best_by=["shouting"],
        checks={"nobody lost": "SELECT count(*) = 20 FROM customers"},
    )
    states = {name: run.state for name, run in runs.items()}
    assert states == {"good": RunState.MERGED, "lazy": RunState.DISCARDED, "unsafe": RunState.DISCARDED}, runs[
        "good"
    ].reason
    assert "'nobody lost'" in str(runs["unsafe"].reason)
    assert shop.query("SELECT count(*) FROM customers WHERE name = upper(name)") == [(5,)]
    assert shop.query("SELECT count(*) FROM log WHERE line = 'migrated'") == [(1,)]
    assert [shop.is_marked(run.id) for run in runs.values()] == ["merged", None, None]

    store = shop.context.store
    [migration] = store.ledger.of_run(runs["good"].id)
    assert [attempt["sqlstate"] for attempt in migration["attempts"]] == ["42601", None]
    assert migration["final"] != migration["original"]
    measured = store.runs.measurements([runs["good"].id])[runs["good"].id]
    assert (measured["shouting"], measured["agent.turns"], measured["changeset.rows.updated"]) == (5, 3, 5)
    assert runs["good"].notes == "all fine"
    assert {run.agent_starts for run in runs.values()} == {1}
    assert {run.baseline_fingerprint for run in runs.values()} == {shop.baseline.fingerprint}

    receipt = store.environments.receipt([run.id for run in runs.values()])
    assert {line["kind"] for line in receipt} == {"database", "role", "folder"}
    assert [line for line in receipt if line["gone_at"] is None] == []
    assert shop.left() == []
    assert shop.dispatcher.callbacks == []


def test_a_migration_that_no_rule_repairs_is_repaired_by_the_model_and_merged(shop: Shop) -> None:
    reply = Reply(text=f'{{"sql": "{REPAIRED}"}}', input_tokens=70, output_tokens=7)
    with ScriptedLlm([reply]) as llm:
        ask(shop, llm)
        run = shop.run({"careful": shop.migration(BROKEN)}, promote="all")["careful"]
    assert run.state is RunState.MERGED, run.reason
    assert in_lower_case(shop) == 9
    [migration] = shop.context.store.ledger.of_run(run.id)
    assert (migration["original"].strip(), migration["final"], migration["applied"]) == (BROKEN, REPAIRED, True)
    first, second = migration["attempts"]
    assert (first["fixer"], first["sqlstate"]) == ("none", "42703")
    assert (second["fixer"], second["sqlstate"], second["tokens"]) == ("llm:tiny", None, 77)

    [asked] = llm.asked
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert "shoe_size" in asked.prompt
    assert "customers (id integer" in asked.prompt
    assert "customer 1" not in asked.prompt
    assert "Example.org" not in asked.prompt
    assert KEY not in everything_in_the_registry(shop)


def test_a_migration_that_the_model_cannot_repair_in_three_tries_discards_its_run(shop: Shop) -> None:
    before = in_lower_case(shop)
    answers: dict[str, list[str | Reply]] = {
        "shoe_size": ["I am only a model.", BROKEN.replace("shoe_size", "foot"), REPAIRED],
        "hat_size": ["DROP TABLE customers;", "DELETE FROM customers;"],
        "ring_size": [Reply(status=401, text=f"bad key {KEY}")] * 2,
    }

    def answer(asked: Asked) -> str | Reply:
        return next(replies.pop(0) for column, replies in answers.items() if column in asked.prompt)

    variants = {column: shop.migration(BROKEN.replace("shoe_size", column)) for column in answers}
    with ScriptedLlm(answer) as llm:
        ask(shop, llm)
        runs = shop.run({name.replace("_", "-"): script for name, script in variants.items()}, promote="all")
    for run in runs.values():
        assert run.state is RunState.DISCARDED
        assert "could not be applied in 3 tries" in str(run.reason)
        [migration] = shop.context.store.ledger.of_run(run.id)
        assert (migration["applied"], migration["final"]) == (False, None)
        assert [attempt["fixer"] for attempt in migration["attempts"]] == ["none", "llm:tiny", "llm:tiny"]
        assert shop.is_marked(run.id) is None
    assert len(llm.asked) == 6
    assert answers["shoe_size"] == [REPAIRED]
    assert in_lower_case(shop) == before
    assert KEY not in everything_in_the_registry(shop)


def test_without_a_model_there_are_rules_only_and_the_run_says_so(shop: Shop) -> None:
    run = shop.run({"careful": shop.migration(BROKEN)}, promote="all")["careful"]
    assert run.state is RunState.DISCARDED
    assert "in 1 try (42703" in str(run.reason)
    assert "rules only" in str([row["detail"] for row in shop.context.store.runs.events(run.id)])


def test_a_fork_that_vanishes_under_its_agent_fails_its_run_and_no_other(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = shop.context.provider(shop.project)
    close, gone = provider.close, []

    def vanish(name: str) -> None:
        if not gone:
            gone.append(name)
            provider.destroy(name)
        close(name)

    monkeypatch.setattr(provider, "close", vanish)
    runs = shop.run({"unlucky": "true", "lucky": "true"}, promote="none")
    assert {name: run.state for name, run in runs.items()} == {
        "unlucky": RunState.FAILED,
        "lucky": RunState.DISCARDED,
    }
    assert "no longer exists" in str(runs["unlucky"].reason)


def test_a_target_that_moved_meanwhile_gets_nothing_and_its_run_is_held_until_a_person_decides(shop: Shop) -> None:
    submitted = shop.submit({"late": shop.psql("UPDATE customers SET name = 'mine' WHERE id = 20")}, promote="all")
    shop.query("UPDATE customers SET name = 'theirs' WHERE id = 20 RETURNING id")
    shop.dispatcher.deliver(shop.context)
    run = shop.runs(submitted)["late"]
    assert run.state is RunState.HELD
    assert "1 row of" in str(run.reason)
    assert shop.query("SELECT name FROM customers WHERE id = 20") == [("theirs",)]
    assert shop.is_marked(run.id) is None
    assert len(shop.left()) == 2
    assert discard(shop.context, run.id).state is RunState.DISCARDED
    assert shop.is_marked(run.id) == "closed"
