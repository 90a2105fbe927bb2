"""Foreign errors, and where sequences stand."""

from __future__ import annotations

import pytest
from psycopg import errors

from orchestrator.capture.edits import SequenceState
from orchestrator.errors import MergeRefused, MigrationError, PrivilegeMissing, TargetUnreachable
from orchestrator.merge.sequences import is_further
from orchestrator.merge.session import place, translate, translated, unreachable

CONNINFO = "postgresql://ann:hunter2@db.example.org/shop"


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (errors.InsufficientPrivilege, PrivilegeMissing, "owner of the tables"),
        (errors.LockNotAvailable, MergeRefused, "try again"),
        (errors.DeadlockDetected, MergeRefused, "try again"),
        (errors.SerializationFailure, MergeRefused, "try again"),
        (errors.QueryCanceled, MergeRefused, "limit"),
        (errors.AdminShutdown, TargetUnreachable, "nothing was merged"),
        (errors.ConnectionFailure, TargetUnreachable, "nothing was merged"),
        (errors.OperationalError, TargetUnreachable, "nothing was merged"),
        (errors.IdleInTransactionSessionTimeout, TargetUnreachable, "nothing was merged"),
        (errors.CheckViolation, MergeRefused, "the target refused it"),
        (errors.UndefinedTable, MergeRefused, "the target refused it"),
        (errors.DiskFull, MergeRefused, "the target refused it"),
    ],
)
def test_every_foreign_error_becomes_one_of_ours(error, expected, said):
    ours = translate(error("as it happened, password=hunter2"), CONNINFO, run_id="clean#1")
    assert type(ours) is expected
    assert said in str(ours)
    assert "hunter2" not in str(ours)


def test_a_migration_is_named_where_it_failed():
    ours = translate(errors.DivisionByZero("no"), CONNINFO, run_id="clean#1", during="migration 0002.sql")
    assert str(ours) == "run clean#1 was not merged (migration 0002.sql): the target refused it: no"


@pytest.mark.parametrize(
    ("sqlstate", "expected", "said"),
    [
        ("55P03", MergeRefused, "try again"),
        ("42501", PrivilegeMissing, "right"),
        ("XXYYZ", MergeRefused, "0002.sql"),
        (None, MergeRefused, "0002.sql"),
    ],
)
def test_a_failed_migration_is_told_by_its_sqlstate(sqlstate, expected, said):
    with pytest.raises(expected, match=said), translated(CONNINFO, run_id="clean#1", during="migration 0002.sql"):
        raise MigrationError("as it happened", sqlstate=sqlstate)


def test_a_place_never_holds_a_password():
    assert place(CONNINFO) == "target shop at db.example.org"
    assert "hunter2" not in str(unreachable(errors.OperationalError(f"cannot reach {CONNINFO}"), CONNINFO))


@pytest.mark.parametrize(
    ("one", "other", "increment", "expected"),
    [
        ((5, True), (4, True), 1, True),
        ((4, True), (5, True), 1, False),
        ((5, True), (5, True), 1, False),
        ((1, True), (1, False), 1, True),
        ((1, False), (1, True), 1, False),
        ((-5, True), (-4, True), -1, True),
        ((-4, True), (-5, True), -1, False),
    ],
)
def test_the_further_position_of_a_sequence(one, other, increment, expected):
    states = [SequenceState(last_value=value, is_called=called) for value, called in (one, other)]
    assert is_further(*states, increment=increment) is expected
