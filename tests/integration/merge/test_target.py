"""What `project add` and `doctor` are told of a target."""

from __future__ import annotations

from psycopg.conninfo import make_conninfo

from orchestrator.merge.target import check_target


def found(conninfo):
    return {finding.subject: finding for finding in check_target(conninfo)}


def test_the_owners_login_has_all_that_a_merge_needs(world):
    world.run_sql("target", "CREATE TABLE t (id integer PRIMARY KEY)")
    findings = found(world.url("target"))
    assert [finding for finding in findings.values() if not finding.ok or finding.fix] == []
    assert findings["merge marker"].detail == "schema forkyard can be created"


def test_the_check_changes_nothing(world):
    check_target(world.url("target"))
    assert world.value("target", "SELECT to_regclass('forkyard.merges')") is None


def test_a_stranger_is_told_what_to_grant(world, stranger):
    world.run_sql("target", "CREATE TABLE a (); CREATE TABLE b (); CREATE TABLE c (); CREATE TABLE d ();")
    world.run_sql("target", f'REVOKE TEMPORARY ON DATABASE "{world.name("target")}" FROM PUBLIC')
    try:
        findings = found(world.url("target", user=stranger))
    finally:
        world.run_sql("target", f'GRANT TEMPORARY ON DATABASE "{world.name("target")}" TO PUBLIC')
    assert {subject for subject, finding in findings.items() if not finding.ok} == {
        "merge marker",
        "temporary tables",
        "ownership",
    }
    assert findings["merge marker"].fix == f'GRANT CREATE ON DATABASE "{world.name("target")}" TO "{stranger}"'
    assert findings["ownership"].detail.endswith(f"c ({world.role}) and 1 more")
    assert findings["ownership"].fix.endswith(f'GRANT "{world.role}" TO "{stranger}"')


def test_a_marker_table_that_the_login_may_not_use_is_found(world, stranger):
    world.prepare("CREATE TABLE t (id integer PRIMARY KEY)")
    finding = found(world.url("target", user=stranger))["merge marker"]
    assert not finding.ok
    assert "GRANT USAGE ON SCHEMA forkyard" in finding.fix
    assert found(world.url("target"))["merge marker"].detail == "forkyard.merges is there"


def test_a_superuser_is_a_warning(world):
    finding = found(world.admin("target"))["login"]
    assert finding.ok
    assert "use the tables' owner instead" in finding.fix


def test_an_unreachable_target_is_one_finding_without_the_password(world):
    conninfo = make_conninfo(world.url("target"), port="1", password="hunter2-secret")
    (finding,) = check_target(conninfo)
    assert (finding.subject, finding.ok) == ("connection", False)
    assert "hunter2" not in finding.detail


def test_a_read_only_login_is_found(world):
    finding = found(make_conninfo(world.url("target"), options="-c default_transaction_read_only=on"))["writable"]
    assert not finding.ok
