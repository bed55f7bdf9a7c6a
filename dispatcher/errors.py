"""Errors, split by who can act. Each takes exactly what it passes up, so that it survives pickling across Ray."""

from __future__ import annotations


class DispatcherError(Exception):
    """Base of everything this package raises on purpose."""


class CallerError(DispatcherError):
    """The request is wrong; nothing was stored. Fix `field` by `rule` and send again."""

    def __init__(self, field: str, rule: str, status: int = 422) -> None:
        super().__init__(field, rule, status)
        self.field = field
        self.rule = rule
        self.status = status

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}"


class ConfigError(DispatcherError):
    """The configuration is wrong; nothing was started. The message names the line or the field."""


class UnavailableError(DispatcherError):
    """Not done, or not known to be done; try again after `retry_after_s` with the same idempotency key."""

    def __init__(self, reason: str, retry_after_s: float = 1.0) -> None:
        super().__init__(reason, retry_after_s)
        self.reason = reason
        self.retry_after_s = retry_after_s


class RefusedError(UnavailableError):
    """Not done for what it is about, a broken record or key: the store is well, and others are not concerned."""


class TemplateError(DispatcherError):
    """This template or its data can never render; permanent for the notification that asked. `args[0]` says why."""


class UnreadableError(DispatcherError):
    """A stored record says nothing to this version: a later one wrote it, or it is damaged. Leave it be."""


class StartError(DispatcherError):
    """A part of the service did not start. The message says which, why, and where its log is."""


class SelfTestError(DispatcherError):
    """This process cannot deliver, for a reason of its own or of its machine. `args[0]` says why."""


class InvariantError(DispatcherError):
    """Our bug."""


class FencedError(DispatcherError):
    """This incarnation is not live any more: stop, drop what was not started, begin a new one."""


class StaleTermError(DispatcherError):
    """Another supervisor has begun a later term: this one exits."""
