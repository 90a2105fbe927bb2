"""What PostgreSQL says, in Forkyard's words: every psycopg error becomes one of the tree in `orchestrator.errors`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import errors as pg

from orchestrator.errors import (
    BaselineBusy,
    CapacityExceeded,
    ForkMissing,
    ForkyardError,
    NotPossible,
    PrivilegeMissing,
    ProviderError,
    ProviderUnavailable,
    TargetUnreachable,
)
from orchestrator.secrets import redact

TRANSLATIONS: Mapping[type[psycopg.Error], tuple[type[ForkyardError], str]] = {
    # Anything that is not named below.
    psycopg.Error: (ProviderError, "PostgreSQL refused."),
    psycopg.InterfaceError: (ProviderUnavailable, "The connection is gone; try again."),
    psycopg.OperationalError: (ProviderUnavailable, "The server could not do it now; try again."),
    # No room.
    pg.InsufficientResources: (CapacityExceeded, "Give the server more room, or run fewer agents at once."),
    pg.DiskFull: (CapacityExceeded, "Free space on the server's disk, or run fewer agents at once."),
    pg.OutOfMemory: (CapacityExceeded, "Give the server more memory, or run fewer agents at once."),
    pg.TooManyConnections: (CapacityExceeded, "Raise max_connections, or run fewer agents at once."),
    pg.ConfigurationLimitExceeded: (CapacityExceeded, "Raise the server's limit, or run fewer agents at once."),
    # Somebody else is at it.
    pg.ObjectInUse: (BaselineBusy, "End the sessions that are connected to it, and try again."),
    pg.LockNotAvailable: (ProviderUnavailable, "Another worker holds it; try again."),
    pg.DeadlockDetected: (ProviderUnavailable, "Another worker is at the same thing; try again."),
    pg.SerializationFailure: (ProviderUnavailable, "Another worker is at the same thing; try again."),
    pg.DuplicateDatabase: (ProviderUnavailable, "Another worker is making it; try again."),
    pg.DuplicateObject: (ProviderUnavailable, "Another worker is making it; try again."),
    pg.UniqueViolation: (ProviderUnavailable, "Another worker is making it; try again."),
    # Gone.
    pg.InvalidCatalogName: (ForkMissing, "Its database no longer exists."),
    pg.UndefinedObject: (ProviderError, "Something that belongs to it is gone; destroy it and make it anew."),
    # Not allowed, not configured.
    pg.InsufficientPrivilege: (PrivilegeMissing, "Grant that to the fork host's login, or use another login."),
    pg.InvalidPassword: (TargetUnreachable, "Correct the password of the fork host's login."),
    pg.InvalidAuthorizationSpecification: (TargetUnreachable, "Correct the fork host's login."),
    pg.FeatureNotSupported: (NotPossible, "The fork host cannot do that."),
    pg.InvalidParameterValue: (NotPossible, "The fork host does not know that value."),
    # Broken for good: trying again would not help.
    pg.IoError: (ProviderError, "Look at the server's log and disk."),
    pg.UndefinedFile: (ProviderError, "Look at the server's log and disk."),
    pg.DuplicateFile: (ProviderError, "Look at the server's log and disk."),
    pg.ConfigFileError: (ProviderError, "Correct the server's configuration."),
    pg.ProgramLimitExceeded: (ProviderError, "It is larger than PostgreSQL allows."),
}
"""The nearest class in an error's ancestry decides; the sentence says what to do next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One reason for a failed connection, recognised by a piece of libpq's message."""

    piece: str
    error: type[ForkyardError]
    advice: str


REFUSALS: tuple[Refusal, ...] = (
    Refusal(piece="password authentication failed", error=TargetUnreachable, advice="Correct the password."),
    Refusal(piece="no password supplied", error=TargetUnreachable, advice="Give its password."),
    Refusal(piece="authentication failed", error=TargetUnreachable, advice="Correct the login."),
    Refusal(piece="no pg_hba.conf entry", error=TargetUnreachable, advice="Allow this login in pg_hba.conf."),
    Refusal(piece="pg_hba.conf rejects", error=TargetUnreachable, advice="Allow this login in pg_hba.conf."),
    Refusal(
        piece="permission denied for database",
        error=PrivilegeMissing,
        advice="GRANT CONNECT on that database to the login.",
    ),
    Refusal(piece="is not permitted to log in", error=PrivilegeMissing, advice="ALTER ROLE … LOGIN."),
    Refusal(piece="does not exist", error=TargetUnreachable, advice="Correct the connection string."),
    Refusal(piece="too many c", error=CapacityExceeded, advice="Raise max_connections, or run fewer agents at once."),
    Refusal(
        piece="connection slots are reserved",
        error=CapacityExceeded,
        advice="Raise max_connections, or run fewer agents at once.",
    ),
)
"""In order: the first piece that is found decides. Everything else may pass by itself (a restart, a network)."""


def translate(exc: psycopg.Error, *, doing: str) -> ForkyardError:
    """The error of ours for one of psycopg's. `doing` completes the sentence "Could not …"."""
    error, advice = next(TRANSLATIONS[cls] for cls in type(exc).__mro__ if cls in TRANSLATIONS)
    return error(f"Could not {doing}: {reason(exc)}. {advice}", sqlstate=exc.sqlstate)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Whatever psycopg raises inside becomes an error of ours."""
    try:
        yield
    except psycopg.Error as exc:
        raise translate(exc, doing=doing) from exc


def translate_refusal(exc: psycopg.Error, *, place: str, ours: bool) -> ForkyardError:
    """The error of ours for a connection that did not come about.

    `ours` tells the fork host (whose absence may be a restart, hence retryable) from a target that the user names
    (whose absence is for the user to mend).
    """
    text = str(exc)
    for refusal in REFUSALS:
        if refusal.piece in text:
            wanted = refusal.error if ours or issubclass(refusal.error, PrivilegeMissing) else TargetUnreachable
            return wanted(f"Could not connect to {place}: {reason(exc)}. {refusal.advice}")
    wanted = ProviderUnavailable if ours else TargetUnreachable
    return wanted(f"Could not connect to {place}: {reason(exc)}. Is it running, and is the address right?")


def reason(exc: psycopg.Error) -> str:
    """The server's own words: one line, no password, no full stop."""
    text = exc.diag.message_primary or next(iter(str(exc).strip().splitlines()), type(exc).__name__)
    text = text.removeprefix("connection failed: ")
    _, marker, fatal = text.partition("FATAL:  ")
    return redact(fatal if marker else text).rstrip(". ")
