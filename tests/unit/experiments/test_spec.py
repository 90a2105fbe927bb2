from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.experiments.load import load
from orchestrator.experiments.spec import AgentKind, EnvironmentReference, Experiment
from orchestrator.runs import Promote

GOOD = """\
experiment: clean-customers
project: shop
baseline: latest
task: |
  Clean the customers table
repeats: 2
parallel: 4
promote: best
timeout: 60s
seed: 7
files: agents/
keep_failed_forks: false
metrics:
  duplicates: SELECT count(*) - count(DISTINCT lower(email)) FROM customers
  orphans: SELECT count(*) FROM orders
checks:
  no order lost: SELECT count(*) = 30000 FROM orders
best_by: [-duplicates, -orphans]
variants:
  careful:
    agent: {command: [python, agent.py, --careful]}
    parameters: {threshold: 0.9, nothing: null}
    environment: {OPENAI_MODEL: x, OPENAI_API_KEY: {env: MY_KEY}}
  quick:
    agent: {callable: "agents:quick"}
  by-hand:
    agent: {sql: migrations/}
    timeout: 30s
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "agent.py").touch()
    (tmp_path / "agents" / "agents.py").touch()
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "001.sql").write_text("SELECT 1")
    return tmp_path


def read(folder: Path, text: str, **options: Any) -> Experiment:
    path = folder / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, **options)


def test_the_binding_example_is_read_whole(folder: Path) -> None:
    experiment = read(folder, GOOD)
    assert (experiment.name, experiment.project, experiment.baseline) == ("clean-customers", "shop", "latest")
    assert (experiment.repeats, experiment.parallel, experiment.seed) == (2, 4, 7)
    assert experiment.promote is Promote.BEST
    assert experiment.best_by == ("-duplicates", "-orphans")
    assert list(experiment.variants) == ["careful", "quick", "by-hand"]
    careful, quick, by_hand = experiment.variants.values()
    assert careful.agent.command == ("python", "agent.py", "--careful")
    assert careful.parameters == {"threshold": 0.9, "nothing": None}
    assert careful.environment["OPENAI_API_KEY"] == EnvironmentReference(env="MY_KEY")
    kinds = [variant.agent.kind for variant in (careful, quick, by_hand)]
    assert kinds == [AgentKind.COMMAND, AgentKind.CALLABLE, AgentKind.SQL]
    assert [experiment.timeout_seconds(name) for name in experiment.variants] == [60, 60, 30]
    assert experiment.files_folder("careful", beside=folder) == folder / "agents/"
    assert experiment.files_folder("by-hand", beside=folder) == folder / "migrations/"


def test_the_smallest_file_has_safe_defaults(folder: Path) -> None:
    experiment = read(folder, "experiment: a\nproject: shop\nvariants:\n  only: {agent: {command: [true-ish]}}\n")
    assert experiment.promote is Promote.REVIEW
    assert (experiment.repeats, experiment.parallel, experiment.timeout) == (1, None, 600)
    assert experiment.files_folder("only", beside=folder) is None


# (what to replace in GOOD, with what, line of the mistake, what the message says)
MISTAKES = [
    ("repeats: 2", "repeat: 2", 6, "unknown key 'repeat'; did you mean 'repeats'?"),
    ("repeats: 2", "concurrency: 2", 6, "unknown key 'concurrency'; did you mean 'parallel'?"),
    ("repeats: 2", "xyzzy: 2", 6, "unknown key 'xyzzy'; the keys here are experiment, project, "),
    ("experiment: clean", "name: clean", 1, "unknown key 'name'; did you mean 'experiment'?"),
    ("    timeout: 30s", "    timeuot: 30s", 28, "'variants.by-hand.timeuot'; did you mean 'timeout'?"),
    ("{sql: migrations/}", "{slq: migrations/}", 27, "'variants.by-hand.agent.slq'; did you mean 'sql'?"),
    ("project: shop\n", "", 1, "the key 'project' is missing"),
    ('    agent: {callable: "agents:quick"}', "    timeout: 5", 24, "the key 'variants.quick.agent' is missing"),
    ("repeats: 2", "repeats: 0", 6, "'repeats' must be from 1 to 1000, not 0"),
    ("repeats: 2", "repeats: 10000", 6, "'repeats' must be from 1 to 1000, not 10000"),
    ("repeats: 2", "repeats: two", 6, "'repeats' must be a whole number from 1 to 1000, not 'two'"),
    ("repeats: 2", "repeats: yes", 6, "must be a whole number from 1 to 1000, not true"),
    ("repeats: 2", "repeats: 2.5", 6, "must be a whole number"),
    ("repeats: 2", "repeats:", 6, "'repeats' has no value"),
    ("parallel: 4", "parallel: 0", 7, "'parallel' must be from 1 to 64, not 0"),
    ("parallel: 4", "parallel: 10000", 7, "'parallel' must be from 1 to 64, not 10000"),
    ("promote: best", "promote: bets", 8, "best, all, none, review, not 'bets'; did you mean 'best'?"),
    ("promote: best", "promote: [best]", 8, "must be one of best, all, none, review, not a list"),
    ("timeout: 60s", "timeout: 60 parsecs", 9, "must be a time such as 90, 90s, 5m or 1h, not '60 parsecs'"),
    ("timeout: 60s", "timeout: 0", 9, "must be from 0.1 seconds to 24 hours, not 0"),
    ("timeout: 60s", "timeout: 25h", 9, "must be from 0.1 seconds to 24 hours"),
    ("timeout: 60s", "timeout: -5s", 9, "must be a time such as"),
    ("seed: 7", "seed: -1", 10, "'seed' must be from 0"),
    ("files: agents/", "files: agnets/", 11, "no folder 'agnets/' beside the experiment file; did you mean 'agents/'?"),
    ("files: agents/", "files: agents/agent.py", 11, "'agents/agent.py' is a file"),
    ("keep_failed_forks: false", "keep_failed_forks: 0", 12, "must be true or false, not 0"),
    ("baseline: latest", "baseline: 0", 3, "must be 'latest', a number from 1, or a label, not 0"),
    ("baseline: latest", "baseline: a/b", 3, "must be 'latest', a number from 1, or a label"),
    ("experiment: clean-customers", "experiment: Clean Customers", 1, "'experiment' must be 1 to 40 of a-z"),
    ("experiment: clean-customers", f"experiment: {'a' * 41}", 1, "'experiment' must be 1 to 40 of a-z"),
    ("experiment: clean-customers", "experiment: -a", 1, "'experiment' must be 1 to 40 of a-z"),
    ("  careful:", "  Careful One:", 20, "the variant name 'Careful One' must be 1 to 40 of a-z"),
    ("project: shop", "project: a/b", 2, "'project' must be a project's name"),
    ("[python, agent.py, --careful]", "python agent.py", 21, "must be a list such as [python, agent.py], not one text"),
    ("[python, agent.py, --careful]", "[]", 21, "must be a list such as [python, agent.py]"),
    ("[python, agent.py, --careful]", "[python, agent.py, 3]", 21, "word 3 must be text, not 3; put it in quotes"),
    ("[python, agent.py, --careful]", "[python, agnet.py]", 21, "runs 'agnet.py', which is not in 'agents/'"),
    ('"agents:quick"', '"agnets:quick"', 25, "module 'agnets', which is not in 'agents/'; did you mean 'agents'?"),
    ('"agents:quick"', "agents.quick", 25, "must be module:function, such as agents:quick, not 'agents.quick'"),
    ("{sql: migrations/}", "{sql: migration/}", 27, "no folder 'migration/' beside the experiment file"),
    ("{sql: migrations/}", "{sql: agents/}", 27, "'agents/' of variant 'by-hand' holds no *.sql file"),
    ("{sql: migrations/}", "{}", 27, "the agent of variant 'by-hand' needs one of command, callable, sql"),
    ("{sql: migrations/}", '{sql: migrations/, callable: "a:b"}', 27, "has callable and sql; keep one"),
    ("{sql: migrations/}", "migrations/", 27, "'variants.by-hand.agent' must hold 'key: value' lines"),
    ("orphans: SELECT count(*) FROM orders", "orphans: ''", 15, "'metrics.orphans' must not be empty"),
    ("orphans: SELECT count(*) FROM orders", "orphans: -- later", 15, "the SQL of metric 'orphans' holds no SQL"),
    ("orphans: SELECT count(*) FROM orders", "orphans: 3", 15, "must be text, not 3"),
    ("orphans: SELECT count(*) FROM orders", "orphans: DELETE FROM orders", 15, "begins with 'DELETE'"),
    ("orphans: SELECT count(*) FROM orders", "orphans: SELECT 1; DROP TABLE orders", 15, "holds 2 statements"),
    (
        "orphans: SELECT count(*) FROM orders",
        "orphans: WITH gone AS (DELETE FROM orders RETURNING 1) SELECT count(*) FROM gone",
        15,
        "the SQL of metric 'orphans' changes data",
    ),
    ("  orphans:", "  duration_seconds:", 15, "the metric name 'duration_seconds' is Forkyard's own"),
    ("  orphans:", "  agent.cost:", 15, "is Forkyard's own"),
    ("  orphans:", '  "-orphans":', 15, "the metric name '-orphans' must be 1 to 60 letters"),
    ("SELECT count(*) = 30000 FROM orders", "UPDATE orders SET id = 1", 17, "the SQL of check 'no order lost'"),
    ("-orphans]", "-orphan]", 18, "unknown metric 'orphan'; did you mean 'orphans'?"),
    ("-orphans]", "xyzzy]", 18, "known are duplicates, orphans, duration_seconds"),
    ("best_by: [-duplicates, -orphans]\n", "", 8, "'promote: best' needs 'best_by'"),
    ("best_by: [-duplicates, -orphans]", "best_by: {a: b}", 18, "must be a list of metric names"),
    ("OPENAI_MODEL: x", "OPENAI_MODEL: 5", 23, "must be text or {env: NAME}, not 5; put it in quotes"),
    ("OPENAI_MODEL: x", "OPENAI_MODEL: {evn: X}", 23, "must be text or {env: NAME}"),
    ("OPENAI_MODEL: x", "OPENAI_MODEL: {env: a b}", 23, "must name an environment variable"),
    ("OPENAI_MODEL: x", "OPENAI_TOKEN: abc", 23, "looks like a secret"),
    ("OPENAI_MODEL: x", 'OTHER_DB: "postgresql://me:hunter2@host/db"', 23, "looks like a secret"),
    ("OPENAI_MODEL: x", "DATABASE_URL: x", 23, "'DATABASE_URL' is set by Forkyard"),
    ("OPENAI_MODEL: x", "FORKYARD_TASK: x", 23, "'FORKYARD_TASK' is set by Forkyard"),
    ("OPENAI_MODEL: x", "X: {env: FORKYARD_KEY}", 23, "never reaches an agent"),
    ("OPENAI_MODEL: x", "MY-NAME: x", 23, "cannot be the name of an environment variable"),
    ("threshold: 0.9", "api_key: abc", 22, "parameter 'api_key' looks like a secret"),
    ("--careful]", "--password=hunter2]", 21, "the command of variant 'careful' holds a password"),
    ("task: |\n  Clean the customers table", "task: [a]\n", 4, "'task' must be text, not a list"),
]


@pytest.mark.parametrize(("old", "new", "line", "says"), MISTAKES)
def test_a_mistake_is_one_sentence_with_its_line(folder: Path, old: str, new: str, line: int, says: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(SpecError) as caught:
        read(folder, GOOD.replace(old, new))
    assert says in str(caught.value)
    assert caught.value.line == line
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["variants: {}", "variants:", "variants: []", "variants: [a]"])
def test_an_experiment_without_variants_is_refused(folder: Path, text: str) -> None:
    with pytest.raises(SpecError, match="variant"):
        read(folder, f"experiment: a\nproject: shop\n{text}\n")


@pytest.mark.parametrize("text", ["just text", "- a\n- b", "12"])
def test_a_file_that_is_no_mapping_is_refused(folder: Path, text: str) -> None:
    with pytest.raises(SpecError, match="must hold 'key: value' lines"):
        read(folder, text)


def test_more_runs_than_anybody_means_are_refused(folder: Path) -> None:
    variants = "".join(f"  v{number}: {{agent: {{command: [x]}}}}\n" for number in range(11))
    with pytest.raises(SpecError, match="11 variants × 1000 repeats are 11000 runs; 10000 is the most"):
        read(folder, f"experiment: a\nproject: shop\nrepeats: 1000\nvariants:\n{variants}")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "  -- why\n  (select 1)",
        "/* why */ WITH a AS (SELECT 1) SELECT * FROM a",
        "VALUES (1)",
        "TABLE answers",
        "SELECT 1;",
        "SELECT this is not SQL that a parser knows ((",
        "SELECT jsonb_path_query(x, '$.a ? (@ > 1)') FROM t",
    ],
)
def test_every_reading_statement_is_let_through(folder: Path, query: str) -> None:
    text = GOOD.replace("SELECT count(*) FROM orders", json.dumps(query))
    assert read(folder, text).metrics["orphans"] == query


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600), ("1.5", 1.5), ("500ms", 0.5), ("24h", 86400), ('"2 m"', 120)],
)
def test_times_are_read_with_their_unit(folder: Path, text: str, seconds: float) -> None:
    assert read(folder, GOOD.replace("timeout: 60s", f"timeout: {text}")).timeout == seconds


@pytest.mark.parametrize(("text", "baseline"), [("3", 3), ('"3"', 3), ("before-launch", "before-launch")])
def test_a_baseline_is_a_number_or_a_label(folder: Path, text: str, baseline: int | str) -> None:
    assert read(folder, GOOD.replace("baseline: latest", f"baseline: {text}")).baseline == baseline


@pytest.mark.parametrize("metric", ["-duration_seconds", "agent.score", "-changeset.rows.deleted", "-fix_attempts"])
def test_facts_and_the_agents_own_metrics_need_no_declaration(folder: Path, metric: str) -> None:
    assert read(folder, GOOD.replace("-orphans]", f"{metric}]")).best_by[1] == metric


def test_only_some_variants_can_be_chosen_in_the_files_order(folder: Path) -> None:
    assert list(read(folder, GOOD, only=["by-hand", "careful"]).variants) == ["careful", "by-hand"]
    with pytest.raises(SpecError, match=r"no variant 'carefull' in experiment .*; did you mean 'careful'"):
        read(folder, GOOD, only=["carefull"])


def test_the_stored_form_gives_the_same_experiment_and_keeps_the_order(folder: Path) -> None:
    experiment = read(folder, GOOD)
    stored = experiment.to_json()
    assert Experiment.from_json(stored) == experiment
    assert stored == read(folder, GOOD + "\n# a comment changes nothing\n").to_json()
    shuffled = _shuffled(json.loads(stored))
    assert Experiment.from_json(json.dumps(shuffled)).to_json() == stored
    assert str(folder) not in stored


def _shuffled(value: Any) -> Any:
    """The same JSON with the keys of every object in another order, as a database may give it back."""
    if isinstance(value, list):
        return [_shuffled(item) for item in value]
    if isinstance(value, dict):
        keys = sorted(value)
        random.Random(1).shuffle(keys)
        return {key: _shuffled(value[key]) for key in keys}
    return value


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "experiment": "a"}'])
def test_a_stored_form_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="stored experiment"):
        Experiment.from_json(text)


def test_a_list_of_pairs_is_only_for_the_stored_form(folder: Path) -> None:
    with pytest.raises(SpecError, match="'variants' must hold 'name: value' lines, not a list"):
        read(folder, "experiment: a\nproject: shop\nvariants: [[a, {agent: {command: [x]}}]]\n")


_PIECES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["{", "}", "[", "]", ": ", "- ", "\n", "\t", "&a ", "*a", "<<: *a", "!!set ", "|", "'", '"', "~", "? "]
    ),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(GOOD)), st.integers(0, 30), _PIECES)
def test_whatever_is_typed_into_the_file_it_is_read_or_refused_in_one_sentence(
    folder: Path, at: int, length: int, piece: str
) -> None:
    text = GOOD[:at] + piece + GOOD[at + length :]
    (folder / "experiment.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        experiment = load(folder / "experiment.yaml")
    except SpecError as exc:
        refusal = str(exc)
    else:
        refusal = ""
        assert Experiment.from_json(experiment.to_json()) == experiment
    assert "\n" not in refusal


def test_a_key_that_holds_a_line_break_does_not_break_the_sentence(folder: Path) -> None:
    with pytest.raises(SpecError) as caught:
        read(folder, GOOD.replace("seed: 7", '"se\\ned": 7'))
    assert "unknown key 'se ed'" in str(caught.value)
