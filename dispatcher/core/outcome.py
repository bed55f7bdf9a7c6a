"""How one attempt ended.

Expected endings are values, not exceptions. An adapter answers with one `Outcome` per call and never raises for
something a vendor or the network did; the courier turns the outcome into the notification's next place.

The rule for all adapters (three endings, decided by bytes written, status and a valid vendor id):

* not sent: no request byte reached the vendor, or the vendor's documented word is "not processed" → `REJECTED`,
  `THROTTLED` or `FAILED`; safe to try elsewhere.
* accepted: 2xx and a valid vendor id in the documented place → `ACCEPTED`.
* unknown: bytes were written and no valid answer came (time-out, reset, 5xx, 2xx without an id) → `UNKNOWN`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

OUR_BUG = "our_bug"
"""Reason of an outcome that an adapter's own failure left unknown: no evidence against the vendor."""


class OutcomeKind(str, Enum):
    """One word for how an attempt ended (DESIGN: the words)."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    THROTTLED = "throttled"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_PERMITTED = "not_permitted"


class Scope(str, Enum):
    """Whose fault a refusal is. Account scope opens the breaker and costs the notification no attempt."""

    MESSAGE = "message"
    RECIPIENT = "recipient"
    ACCOUNT = "account"
    VENDOR = "vendor"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt.

    Attributes:
        kind: what happened.
        reason: a short stable token such as `http_500`, `timeout_read`, `twilio_21211`; never an address or a body.
        vendor_message_id: the vendor's id, set exactly when `kind` is accepted.
        retry_after_s: the vendor's own wait, seconds >= 0, already capped by the adapter; None when it said nothing.
        scope: whose fault it is, for refusals and failures.
        local_origin: the failure happened before the vendor was reached (DNS, connect, TLS).
    """

    kind: OutcomeKind
    reason: str = ""
    vendor_message_id: str | None = None
    retry_after_s: float | None = None
    scope: Scope = Scope.VENDOR
    local_origin: bool = False

    @classmethod
    def accepted(cls, vendor_message_id: str) -> Outcome:
        return cls(OutcomeKind.ACCEPTED, "accepted", vendor_message_id=vendor_message_id)

    @classmethod
    def rejected(cls, reason: str, scope: Scope = Scope.MESSAGE) -> Outcome:
        return cls(OutcomeKind.REJECTED, reason, scope=scope)

    @classmethod
    def throttled(cls, reason: str, retry_after_s: float | None = None) -> Outcome:
        return cls(OutcomeKind.THROTTLED, reason, retry_after_s=retry_after_s)

    @classmethod
    def failed(
        cls, reason: str, *, scope: Scope = Scope.VENDOR, local_origin: bool = False, retry_after_s: float | None = None
    ) -> Outcome:
        return cls(OutcomeKind.FAILED, reason, scope=scope, local_origin=local_origin, retry_after_s=retry_after_s)

    @classmethod
    def unknown(cls, reason: str) -> Outcome:
        return cls(OutcomeKind.UNKNOWN, reason)
