from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.capture.metrics import CheckResult, run_checks, run_metrics
from orchestrator.errors import CaptureError, ProviderUnavailable

Fork = Callable[..., Any]


@pytest.fixture
def url(fork: Fork) -> str:
    made: str = fork("CREATE TABLE t (id int, v numeric); INSERT INTO t VALUES (1, 1.5), (2, NULL)").url(1)
    return made


def test_metrics_are_numbers_or_none(url: str) -> None:
    metrics = {
        "rows": "SELECT count(*) FROM t;",
        "sum": "SELECT sum(v) FROM t -- with a comment",
        "share": "SELECT 0.1::float4::float8",
        "nothing": "SELECT v FROM t WHERE id = 2",
        "flag": "SELECT true",
        "percent": "SELECT count(*) FILTER (WHERE v::text LIKE '%s%') FROM t",
        "with": "WITH x AS (SELECT 5 AS n) SELECT n FROM x",
    }
    assert run_metrics(url, metrics, 10) == {
        "rows": 2.0,
        "sum": 1.5,
        "share": 0.10000000149011612,
        "nothing": None,
        "flag": 1.0,
        "percent": 0.0,
        "with": 5.0,
    }


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT 'many'", "gave many, which is not a finite number"),
        ("SELECT 'NaN'::float8", "gave nan, which is not a finite number"),
        ("SELECT 1e400", "is not a finite number"),
        ("SELECT 1, 2", "must give one row with one value; it gave 2 columns"),
        ("SELECT id FROM t", "must give one row with one value; it gave more than one row"),
        ("SELECT id FROM t WHERE false", "must give one row with one value; it gave no row"),
        ("SELECT count(*) FROM nowhere", 'failed: relation "nowhere" does not exist'),
        ("SELECT 1; SELECT 2", "failed: cannot insert multiple commands into a prepared statement"),
        ("SELECT 1; COMMIT; DROP TABLE t", "failed: cannot insert multiple commands"),
        ("DELETE FROM t", "failed: syntax error"),
        ("WITH x AS (DELETE FROM t RETURNING 1) SELECT 1 FROM x", "failed: DECLARE CURSOR must not contain"),
        ("SELECT pg_sleep(60)", r"took longer than 0\.3 s"),
    ],
)
def test_what_is_not_one_number_is_named(url: str, query: str, reason: str) -> None:
    with pytest.raises(CaptureError, match=f"^Metric 'm' .*{reason}"):
        run_metrics(url, {"m": query}, 0.3)
    assert run_metrics(url, {"rows": "SELECT count(*) FROM t"}, 10) == {"rows": 2.0}


def test_a_check_is_ok_for_true_alone(url: str) -> None:
    checks = {
        "good": "SELECT count(*) = 2 FROM t",
        "bad": "SELECT count(*) = 3 FROM t",
        "unknown": "SELECT NULL::bool",
        "one": "SELECT 1",
        "broken": "SELECT nope FROM t",
    }
    assert run_checks(url, checks, 10) == (
        CheckResult(name="good", ok=True, detail=""),
        CheckResult(name="bad", ok=False, detail="Check 'bad' gave false."),
        CheckResult(name="unknown", ok=False, detail="Check 'unknown' gave NULL."),
        CheckResult(name="one", ok=False, detail="Check 'one' gave 1."),
        CheckResult(name="broken", ok=False, detail="Check 'broken' failed: column \"nope\" does not exist."),
    )


def test_metrics_run_with_the_agents_rights_alone(url: str) -> None:
    with pytest.raises(CaptureError, match="permission denied"):
        run_metrics(url, {"m": "SELECT count(*) FROM pg_authid"}, 5)


def test_a_database_that_does_not_answer_is_worth_another_try() -> None:
    with pytest.raises(ProviderUnavailable, match=r"^Metric 'm' could not be asked"):
        run_metrics("host=127.0.0.1 port=1 dbname=x", {"m": "SELECT 1"}, 1)
