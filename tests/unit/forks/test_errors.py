from __future__ import annotations

import inspect

import psycopg
import pytest
from psycopg import errors as pg

from orchestrator import errors as ours
from orchestrator.forks.errors import REFUSALS, TRANSLATIONS, translate, translate_refusal, translated

EVERY_ERROR = sorted(
    {
        thing
        for module in (psycopg, pg)
        for _, thing in inspect.getmembers(module, inspect.isclass)
        if issubclass(thing, psycopg.Error)
    },
    key=lambda cls: cls.__name__,
)
ALLOWED = (ours.ProviderError, ours.UserError)


@pytest.mark.parametrize("cls", EVERY_ERROR, ids=lambda cls: cls.__name__)
def test_every_error_of_psycopg_becomes_one_that_a_provider_may_raise(cls: type[psycopg.Error]) -> None:
    error = translate(cls("the server said so"), doing="create the fork")
    assert isinstance(error, ALLOWED)
    assert str(error).startswith("Could not create the fork: the server said so. ")


def test_there_are_as_many_errors_as_postgres_has() -> None:
    assert len(EVERY_ERROR) > 240


def test_the_base_classes_of_the_database_api_have_entries_of_their_own() -> None:
    assert {psycopg.Error, psycopg.OperationalError, psycopg.InterfaceError} <= set(TRANSLATIONS)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (pg.DiskFull, ours.CapacityExceeded),
        (pg.TooManyConnections, ours.CapacityExceeded),
        (pg.ObjectInUse, ours.BaselineBusy),
        (pg.InsufficientPrivilege, ours.PrivilegeMissing),
        (pg.InvalidPassword, ours.TargetUnreachable),
        (pg.InvalidCatalogName, ours.ForkMissing),
        (pg.LockNotAvailable, ours.ProviderUnavailable),
        (pg.AdminShutdown, ours.ProviderUnavailable),
        (pg.CannotConnectNow, ours.ProviderUnavailable),
        (pg.ConnectionFailure, ours.ProviderUnavailable),
        (pg.QueryCanceled, ours.ProviderUnavailable),
        (pg.SyntaxError, ours.ProviderError),
        (pg.DataCorrupted, ours.ProviderError),
        (pg.IoError, ours.ProviderError),
    ],
)
def test_errors_become_what_the_caller_must_tell_apart(
    theirs: type[psycopg.Error], expected: type[ours.ForkyardError]
) -> None:
    assert type(translate(theirs("x"), doing="y")) is expected


def test_what_cannot_heal_is_not_retryable() -> None:
    assert not translate(pg.IoError("x"), doing="y").retryable
    assert translate(pg.DiskFull("x"), doing="y").retryable


def test_a_translated_error_keeps_its_cause() -> None:
    cause = pg.DiskFull("no space")
    with pytest.raises(ours.CapacityExceeded) as caught, translated("create the fork"):
        raise cause
    assert caught.value.__cause__ is cause
    assert caught.value.context == {"sqlstate": "53100"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('FATAL:  password authentication failed for user "x"', ours.TargetUnreachable),
        ('FATAL:  no pg_hba.conf entry for host "1.2.3.4"', ours.TargetUnreachable),
        ('FATAL:  database "nope" does not exist', ours.TargetUnreachable),
        ('FATAL:  permission denied for database "x"', ours.PrivilegeMissing),
        ('FATAL:  role "x" is not permitted to log in', ours.PrivilegeMissing),
        ("FATAL:  sorry, too many clients already", ours.CapacityExceeded),
        ('FATAL:  too many connections for role "x"', ours.CapacityExceeded),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER", ours.CapacityExceeded),
        ("FATAL:  the database system is starting up", ours.ProviderUnavailable),
        ("Connection refused", ours.ProviderUnavailable),
    ],
)
def test_a_refused_connection_says_why(message: str, expected: type[ours.ForkyardError]) -> None:
    full = f'connection failed: connection to server at "127.0.0.1", port 5432 failed: {message}'
    error = translate_refusal(psycopg.OperationalError(full), place="the fork host", ours=True)
    assert type(error) is expected
    assert message.removeprefix("FATAL:  ") in str(error)


def test_a_target_that_does_not_answer_is_the_users_to_mend() -> None:
    for message in ("Connection refused", "FATAL:  sorry, too many clients already", "FATAL:  shutting down"):
        error = translate_refusal(psycopg.OperationalError(message), place='the target "shop"', ours=False)
        assert type(error) is ours.TargetUnreachable


def test_a_missing_privilege_at_the_target_stays_one() -> None:
    exc = psycopg.OperationalError('FATAL:  permission denied for database "shop"')
    assert type(translate_refusal(exc, place="the target", ours=False)) is ours.PrivilegeMissing


def test_no_reason_for_a_refusal_hides_an_earlier_one() -> None:
    pieces = [refusal.piece for refusal in REFUSALS]
    assert not [(a, b) for i, a in enumerate(pieces) for b in pieces[i + 1 :] if a in b]
