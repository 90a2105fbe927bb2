"""A fork is hostile input: what its agent defined is never run by capture and never hides a change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from orchestrator.capture.fingerprint import read_schema
from orchestrator.capture.metrics import run_checks, run_metrics
from orchestrator.capture.rows import diff_sequences, diff_tables
from orchestrator.errors import CaptureError

Fork = Callable[..., Any]

SEED = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN code AS text;
CREATE TABLE t (id int PRIMARY KEY, m mood, p pair, c code, v text);
CREATE TABLE keyless (m mood, p pair);
CREATE SEQUENCE s;
INSERT INTO t SELECT g, 'sad', ROW(g, 'x'::text)::pair, 'c', 'v' FROM generate_series(1, 10) g;
INSERT INTO keyless SELECT m, p FROM t;
"""

# Everything that an unqualified or cast-based query would run, each leaving a trace and lying about the value.
TRAPS = """
CREATE SCHEMA evil;
CREATE TABLE evil.trace (what text);
CREATE FUNCTION evil.said(what text) RETURNS text LANGUAGE plpgsql AS
  $$BEGIN RAISE EXCEPTION 'the trap % ran as %', what, current_user; END$$;
CREATE FUNCTION evil.mood_text(mood) RETURNS text LANGUAGE sql AS $$SELECT evil.said('cast')$$;
CREATE FUNCTION evil.pair_text(pair) RETURNS text LANGUAGE sql AS $$SELECT evil.said('cast')$$;
CREATE CAST (mood AS text) WITH FUNCTION evil.mood_text(mood) AS IMPLICIT;
CREATE CAST (pair AS text) WITH FUNCTION evil.pair_text(pair) AS IMPLICIT;
CREATE FUNCTION evil.pair_json(pair) RETURNS json LANGUAGE sql AS $$SELECT evil.said('json')::json$$;
CREATE CAST (pair AS json) WITH FUNCTION evil.pair_json(pair);
CREATE FUNCTION evil.same(mood, mood) RETURNS bool LANGUAGE sql AS $$SELECT evil.said('=') = 'x'$$;
CREATE OPERATOR evil.= (LEFTARG = mood, RIGHTARG = mood, FUNCTION = evil.same);
CREATE FUNCTION evil.same(int, int) RETURNS bool LANGUAGE sql AS $$SELECT evil.said('=') = 'x'$$;
CREATE OPERATOR evil.= (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.same);
CREATE FUNCTION evil.same(bigint, bigint) RETURNS bool LANGUAGE sql AS $$SELECT evil.said('=') = 'x'$$;
CREATE OPERATOR evil.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.same);
CREATE FUNCTION evil.same(text, text) RETURNS bool LANGUAGE sql AS $$SELECT evil.said('=') = 'x'$$;
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same);
CREATE FUNCTION evil.masked(bigint, bigint) RETURNS bigint LANGUAGE sql AS $$SELECT evil.said('&')::bigint$$;
CREATE OPERATOR evil.& (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.masked);
CREATE FUNCTION evil.masked(bigint, int) RETURNS bigint LANGUAGE sql AS $$SELECT evil.said('&')::bigint$$;
CREATE OPERATOR evil.& (LEFTARG = bigint, RIGHTARG = int, FUNCTION = evil.masked);
CREATE FUNCTION evil.count() RETURNS bigint LANGUAGE sql AS $$SELECT evil.said('count')::bigint$$;
CREATE FUNCTION evil.hashtextextended(text, bigint) RETURNS bigint LANGUAGE sql AS $$SELECT 1::bigint$$;
CREATE FUNCTION evil.pg_get_expr(pg_node_tree, oid) RETURNS text LANGUAGE sql AS $$SELECT evil.said('expr')$$;
CREATE FUNCTION evil.format_type(oid, integer) RETURNS text LANGUAGE sql AS $$SELECT evil.said('type')$$;
CREATE TABLE evil.pg_class AS SELECT * FROM pg_catalog.pg_class LIMIT 0;
CREATE TABLE evil.pg_namespace AS SELECT * FROM pg_catalog.pg_namespace LIMIT 0;
CREATE TABLE evil.pg_sequence AS SELECT * FROM pg_catalog.pg_sequence LIMIT 0;
CREATE VIEW evil.lookalike AS SELECT evil.said('view') AS id;
CREATE MATERIALIZED VIEW evil.kept AS SELECT 1 AS x;
"""


def spring(forked: Any) -> None:
    """Sets the traps in the fork and makes its search path lead into them for every new session."""
    forked.after.execute(TRAPS)
    forked.after.execute("SET ROLE NONE")
    for setting in ("search_path = evil, public, pg_catalog", "row_security = on", "quote_all_identifiers = on"):
        text = f'ALTER ROLE "{forked.roles.agent}" IN DATABASE "{forked.names[1]}" SET {setting}'
        forked.after.execute(text.encode())
    forked.after = forked.connect(1)


def test_hostile_casts_operators_and_functions_neither_run_nor_hide_a_change(fork: Fork) -> None:
    forked = fork(SEED)
    forked.after.execute(
        "UPDATE t SET m = 'ok' WHERE id = 1; UPDATE t SET p = ROW(2, 'y') WHERE id = 2;"
        "UPDATE t SET c = 'd' WHERE id = 3;"
        "UPDATE keyless SET m = 'ok' WHERE (p).a = 4; SELECT nextval('s')"
    )
    spring(forked)
    shown = forked.after.execute("SHOW search_path").fetchone()
    assert shown == ("evil, public, pg_catalog",)
    with pytest.raises(psycopg.errors.RaiseException, match="trap cast ran"):
        forked.after.execute("SELECT m::text FROM t")
    changes = {change.table: change for change in diff_tables(forked.before, forked.after)}
    assert {name: change.columns_touched for name, change in changes.items()} == {"t": ("m", "p", "c"), "keyless": ()}
    assert [edit.after for edit in changes["t"].edits] == [{"m": "ok"}, {"p": "(2,y)"}, {"c": "d"}]
    assert (changes["keyless"].inserted, changes["keyless"].deleted) == (1, 1)
    assert [change.name for change in diff_sequences(forked.before, forked.after)] == ["s"]


def test_hostile_functions_do_not_run_while_the_schema_is_read(fork: Fork) -> None:
    forked = fork(SEED)
    spring(forked)
    seen = read_schema(forked.after)
    with forked.connect(1, agent=False) as admin:
        assert read_schema(admin) == seen
    assert any(key.name == "evil.trace" for key in seen.objects)
    assert forked.after.execute("SELECT count(what) FROM evil.trace").fetchone() == (0,)


def test_forced_row_security_hides_nothing(fork: Fork) -> None:
    forked = fork(SEED)
    forked.after.execute(
        "UPDATE t SET v = 'hidden' WHERE id = 5;"
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY;"
        "CREATE FUNCTION told(int) RETURNS bool LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'the policy ran as %', current_user; END$$;"
        "CREATE POLICY mine ON t USING (id <> 5 AND told(id))"
    )
    with pytest.raises(psycopg.errors.RaiseException, match="the policy ran"):
        forked.after.execute("SELECT * FROM t")
    fingerprint = read_schema(forked.after).fingerprint
    (change,) = diff_tables(forked.before, forked.after)
    assert [(edit.key, edit.after) for edit in change.edits] == [(("5",), {"v": "hidden"})]
    # It was lifted inside the comparison alone.
    assert forked.after.execute("SELECT relforcerowsecurity FROM pg_class WHERE relname = 't'").fetchone() == (True,)
    assert read_schema(forked.after).fingerprint == fingerprint


def test_row_security_that_cannot_be_lifted_is_refused(clone: Fork) -> None:
    forked = clone(SEED)
    for side in (0, 1):
        with forked.connect(side, agent=False) as admin:
            admin.execute(
                "CREATE TABLE theirs (id int); ALTER TABLE theirs ENABLE ROW LEVEL SECURITY;"
                "INSERT INTO theirs VALUES (1);"
                "GRANT SELECT ON theirs TO PUBLIC"
            )
    with pytest.raises(CaptureError, match='row-level security policy for table "theirs"'):
        diff_tables(forked.before, forked.after)


def test_a_view_in_the_place_of_a_table_is_not_read(fork: Fork) -> None:
    forked = fork(SEED)
    forked.after.execute(
        "CREATE FUNCTION told() RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'ran'; END$$;"
        "DROP TABLE keyless; CREATE VIEW keyless AS SELECT told() AS m, 1 AS p"
    )
    assert diff_tables(forked.before, forked.after) == ()


def test_metrics_keep_their_search_path_and_cannot_write(fork: Fork) -> None:
    forked = fork(SEED, "CREATE TABLE public.items (id int); INSERT INTO items VALUES (1), (2)")
    forked.after.execute("CREATE SCHEMA evil2; CREATE TABLE evil2.items (id int)")
    spring(forked)
    forked.after.execute("SET ROLE NONE")
    text = f'ALTER ROLE "{forked.roles.agent}" IN DATABASE "{forked.names[1]}" SET search_path = evil2, evil'
    forked.after.execute(text.encode())
    url = forked.url(1)
    assert run_metrics(url, {"items": "SELECT count(*) FROM items"}, 5) == {"items": 2.0}
    assert run_metrics(url, {"items": "SELECT count(*) FROM items"}, 5, search_path=["evil2"]) == {"items": 0.0}
    forked.after.execute(
        f'SET ROLE "{forked.roles.owner}"; CREATE FUNCTION public.sneak() RETURNS int LANGUAGE plpgsql AS'
        " $$BEGIN INSERT INTO public.items VALUES (3); RETURN 1; END$$"
    )
    with pytest.raises(CaptureError, match=r"'sneak' failed: cannot execute INSERT in a read-only transaction"):
        run_metrics(url, {"sneak": "SELECT sneak()"}, 5)


def test_metrics_see_every_row_under_settings_of_their_own(fork: Fork) -> None:
    forked = fork(SEED)
    forked.after.execute(
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY none ON t USING (false); SET ROLE NONE"
    )
    for setting in ("timezone = 'Pacific/Kiritimati'", "row_security = on", "transaction_timeout = '1h'"):
        text = f'ALTER ROLE "{forked.roles.agent}" IN DATABASE "{forked.names[1]}" SET {setting}'
        forked.after.execute(text.encode())
    metrics = {
        "rows": "SELECT count(*) FROM t",
        "hour": "SELECT extract(hour FROM '2024-01-01 12:00+00'::timestamptz)",
    }
    assert run_metrics(forked.url(1), metrics, 5) == {"rows": 10.0, "hour": 12.0}


def test_a_metric_ends_in_time_even_if_the_fork_catches_the_cancel(fork: Fork) -> None:
    forked = fork(
        "CREATE FUNCTION stubborn() RETURNS int LANGUAGE plpgsql AS $$"
        "BEGIN LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END$$"
    )
    url = forked.url(1)
    with pytest.raises(CaptureError, match=r"Metric 'm' took longer than 0\.2 s"):
        run_metrics(url, {"m": "SELECT stubborn()"}, 0.2)
    (result,) = run_checks(url, {"c": "SELECT stubborn() = 1"}, 0.2)
    assert (result.ok, result.detail) == (False, "Check 'c' took longer than 0.2 s.")
    with forked.connect(1, agent=False) as admin:
        left = admin.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
            " AND pid <> pg_backend_pid()"
        )
        assert left.fetchone() == (0,)
