"""Every error that Forkyard raises on purpose.

The tree (the docstring of a class is its default message):

    ForkyardError
    ├── UserError                    the user's mistake: one sentence, exit code 2, never a traceback
    │   ├── SettingsError            forkyard.toml, secrets.toml or a FORKYARD_* variable
    │   ├── SpecError                an experiment file (carries file, line and a suggestion)
    │   ├── NotFound                 no such project, baseline, experiment or run
    │   ├── NotPossible              the thing is in a state that does not allow this
    │   ├── TargetUnreachable        the target or the fork host does not answer, or refuses the password
    │   └── PrivilegeMissing         the login may not do what Forkyard needs
    ├── RegistryError
    │   ├── RegistryUnavailable      retryable
    │   ├── RegistryOutdated         `forkyard upgrade` is due
    │   ├── IllegalTransition        a guarded UPDATE matched no row
    │   └── Fenced                   a newer epoch owns the run: the caller must stop and write nothing
    ├── ProviderError
    │   ├── ProviderUnavailable      retryable
    │   ├── BaselineBusy             retryable: somebody is connected to the template
    │   ├── BaselineMissing
    │   ├── ForkMissing
    │   ├── ForeignResource          the stamp or the name says that it is not ours
    │   └── CapacityExceeded         retryable: disk full, too many databases, no connection slot
    ├── AgentError
    │   ├── AgentFailed              it exited with a failure
    │   ├── AgentTimeout             it ran longer than it may
    │   ├── AgentOverLimit           it wrote more than it may
    │   └── AgentInterrupted         its worker died while it ran
    ├── MigrationError               a statement failed and nothing repaired it
    ├── CaptureError                 the fork's change could not be proven
    ├── MergeRefused                 drift or conflicts: nothing was merged
    ├── MergeDelayed                 retryable: the target is away, or somebody else holds a lock
    ├── Cancelled                    a person asked for the end
    ├── QueueUnavailable             retryable: the broker does not answer; rescue sends the work later
    ├── LlmError                     the model did not give a usable answer
    └── StackError                   an embedded server did not start or stop
"""

from __future__ import annotations

import inspect
from typing import ClassVar


class ForkyardError(Exception):
    """Something in Forkyard went wrong."""

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str | None = None, /, **context: object) -> None:
        """`context` holds structured facts (run, provider, operation, …); never a secret."""
        self.message = message or " ".join((inspect.getdoc(type(self)) or "").split())
        self.context = context
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


class UserError(ForkyardError):
    """That cannot be done as asked."""

    exit_code = 2


class SettingsError(UserError):
    """The configuration is not valid."""


class SpecError(UserError):
    """The experiment file is not valid."""

    def __init__(
        self, message: str | None = None, /, *, file: str = "", line: int | None = None, **context: object
    ) -> None:
        self.file = file
        self.line = line
        place = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(f"{place}{message}" if message else None, **context)


class NotFound(UserError):
    """There is no such thing."""


class NotPossible(UserError):
    """Its present state does not allow that."""


class TargetUnreachable(UserError):
    """The database does not answer."""


class PrivilegeMissing(UserError):
    """The login lacks a privilege that Forkyard needs."""


class RegistryError(ForkyardError):
    """The registry refused."""


class RegistryUnavailable(RegistryError):
    """The registry does not answer."""

    retryable = True
    exit_code = 2


class RegistryOutdated(RegistryError):
    """The registry's schema is older than this Forkyard: run `forkyard upgrade`."""

    exit_code = 2


class IllegalTransition(RegistryError):
    """That change of state is not allowed."""


class Fenced(RegistryError):
    """A newer attempt owns this run; this one must stop."""


class ProviderError(ForkyardError):
    """The provider of forks failed."""


class ProviderUnavailable(ProviderError):
    """The provider does not answer."""

    retryable = True


class BaselineBusy(ProviderError):
    """Somebody is connected to the baseline, so it cannot be copied now."""

    retryable = True


class BaselineMissing(ProviderError):
    """The baseline no longer exists at the provider."""


class ForkMissing(ProviderError):
    """The fork no longer exists at the provider."""


class ForeignResource(ProviderError):
    """That resource does not carry this installation's stamp; it is left alone."""


class CapacityExceeded(ProviderError):
    """The provider has no room for another fork."""

    retryable = True


class AgentError(ForkyardError):
    """The agent failed."""


class AgentFailed(AgentError):
    """The agent exited with a failure."""


class AgentTimeout(AgentError):
    """The agent ran longer than it may."""


class AgentOverLimit(AgentError):
    """The agent wrote more than it may."""


class AgentInterrupted(AgentError):
    """The worker died while the agent ran."""


class MigrationError(ForkyardError):
    """A migration failed and nothing repaired it."""


class CaptureError(ForkyardError):
    """The change could not be captured exactly."""


class MergeRefused(ForkyardError):
    """The target moved since the baseline; nothing was merged."""


class MergeDelayed(ForkyardError):
    """The target is busy or away; the merge is tried again."""

    retryable = True


class Cancelled(ForkyardError):
    """Cancelled by a person."""


class QueueUnavailable(ForkyardError):
    """The task queue's broker does not answer."""

    retryable = True


class LlmError(ForkyardError):
    """The language model gave no usable answer."""


class StackError(ForkyardError):
    """An embedded server did not do as told."""
