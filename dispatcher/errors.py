"""The errors of this package, divided by who can act on them.

Each initialiser passes exactly its own parameters to its base class. Only then does the error survive pickling in Ray.
"""

from __future__ import annotations

from dispatcher.core.limits.accept_rate import AcceptRate, Quota


class DispatcherError(Exception):
    """The base of all errors that this package raises on purpose."""


class CallerError(DispatcherError):
    """The request is wrong, and nothing was stored.

    `field` names the wrong field, and `rule` says what is allowed there. `status` is the HTTP status of the answer.
    """

    def __init__(self, field: str, rule: str, status: int = 422) -> None:
        super().__init__(field, rule, status)
        self.field = field
        self.rule = rule
        self.status = status

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}"


class ConfigError(DispatcherError):
    """The configuration is wrong, and nothing was started or changed. The message names the line or the field."""


class UnavailableError(DispatcherError):
    """The call is not done, or it is not known whether it was done. `retry_after_s` says when to try again.

    A caller of the API tries again with the same idempotency key, so that nothing is stored twice.
    """

    def __init__(self, reason: str, retry_after_s: float = 1.0) -> None:
        super().__init__(reason, retry_after_s)
        self.reason = reason
        self.retry_after_s = retry_after_s


class LimitedError(UnavailableError):
    """The tenant sends faster than its accept rate, and nothing was stored. Try again after `retry_after_s`."""

    def __init__(self, rate: AcceptRate, quota: Quota) -> None:
        DispatcherError.__init__(self, rate, quota)
        self.rate, self.quota = rate, quota
        self.reason = f"the tenant's accept rate is {rate.per_s:g} a second, at most {rate.burst} at once"
        self.retry_after_s = quota.next_ms / 1000


class RefusedError(UnavailableError):
    """The call is not done because its record or key is broken. The store works, and other calls are not affected."""


class TemplateError(DispatcherError):
    """The template can never be rendered with this data, so the notification fails for good. `args[0]` says why."""


class TemplateGoneError(TemplateError):
    """The store does not have this version of the template, or this version no longer has the accepted text."""


class UnreadableError(DispatcherError):
    """This version cannot read a stored record: a later version wrote it, or it is damaged. Leave it unchanged."""


class StartError(DispatcherError):
    """A part of the service did not start. The message says which part, why, and where its log is."""


class SelfTestError(DispatcherError):
    """This process cannot deliver, because something is wrong with it or with its machine. `args[0]` says what."""


class InvariantError(DispatcherError):
    """This package has a bug: something that must always be true was not."""


class FencedError(DispatcherError):
    """This incarnation is no longer live. Stop, start no further call, and begin a new incarnation."""


class StaleTermError(DispatcherError):
    """Another supervisor has begun a later term. The supervisor that gets this error stands by, or ends.

    The supervisor ends if no second supervisor is expected (`patience_s` is 0).
    """
