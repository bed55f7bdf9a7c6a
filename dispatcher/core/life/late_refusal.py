"""The decision after a vendor has accepted a message and then refuses it by a receipt.

Twilio answers 201 to a message of an unregistered sender, and tells by its receipt that the carrier did not let the
message through (error 30034). Such a refusal must not be the end of the notification while another vendor works. Rules:

1. The receipt's code or sentence has the same meaning as in an answer: the provider's lists and the operator's rules
   decide (`outcome`). A word that is final or proves nothing changes nothing here; `core.life.receipt` decides then.
2. After any other refusal the notification is *reopened*: it is sent again, by another vendor first. The notification
   is reopened only if the refused call was its last call. So a receipt that is late, repeated or about an earlier call
   changes nothing.
3. Nothing may be sent twice under `hold`. So the refusal must be `certain` there: the vendor must say that the message
   did not go out. Under `resend`, the vendor's word that the message was not delivered is enough.
4. If no other vendor of the chain works, the notification waits as it does after every vendor has refused it. Each
   acceptance costs an attempt, so the number of such rounds is limited.
5. If a fallback has begun, the message is on its way by another channel, so the notification is not reopened. A
   fallback that was skipped stands by again.
6. A refusal of our account, and one of a country, is evidence against the vendor if the call was made within
   `EVIDENCE_MS`. An older refusal tells nothing about the vendor's present state. Any other refusal counts as doubted:
   if another vendor accepts the message, the refusal becomes evidence (`core.breaker.refusals`).
"""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.core.life.decide import Situation
from dispatcher.core.life.notification import Attempt, CallMark, LaterWord, Notification, State, Trail
from dispatcher.core.life.outcome import Outcome, OutcomeKind, Scope
from dispatcher.core.life.retry import refused_wait_s, within_life_ms

REOPENS_MS = 300_000
"""The time in milliseconds after an acceptance in which a refusal by receipt can reopen the notification.

The store keeps the content so long. Carriers refuse a sender or a text within seconds or minutes.
"""

EVIDENCE_MS = REOPENS_MS
"""The time in milliseconds after its call in which a refusal by receipt is evidence against the vendor."""


@dataclass(frozen=True, slots=True)
class LateRefusal:
    """A receipt's refusal of a message that the vendor had accepted, or may have accepted.

    Attributes:
        outcome: the meaning of the vendor's word, as if the vendor had answered it.
        certain: the vendor says that the message did not go out. If it is False, the vendor says only that the message
            did not arrive as far as it knows.
        message_id: the vendor's id of the message; '' if it is not told. The id may have more text after a dot, as
            SendGrid's ids have.
        call: the mark of the call; None if it is not known, as of a call that an earlier version made.
    """

    outcome: Outcome
    certain: bool
    message_id: str = ""
    call: CallMark | None = None

    @property
    def moves_on(self) -> bool:
        """Return True if another vendor may be tried after this refusal (rule 1)."""
        return self.outcome.kind in (OutcomeKind.FAILED, OutcomeKind.THROTTLED, OutcomeKind.DEFERRED)


@dataclass(frozen=True, slots=True)
class LastCall:
    """A notification that is settled or held, with the last call that was made for it.

    Attributes:
        vendor: the vendor that was called.
        message_id: the vendor's id of the message; '' if the notification is held, because no answer came.
        at_ms: when the call began, in wall milliseconds.
        fallback: the state of its fallback; None if it has no fallback.
    """

    notification: Notification
    vendor: str
    message_id: str
    at_ms: int
    fallback: State | None = None


@dataclass(frozen=True, slots=True)
class Reopen:
    """Send the notification again in `wait_ms` milliseconds, because the vendor refused it by a receipt."""

    wait_ms: int
    trail: Trail


def accepted_later(word: LaterWord, reason: str, now_ms: int) -> Attempt:
    """Return the line of history for a notification that a vendor's later word settles. A receipt can then still refuse
    the message.
    """
    return Attempt(
        now_ms, word.vendor, OutcomeKind.ACCEPTED.value, reason.partition(":")[0], 0, word.message_id or None
    )


def decide_late_refusal(last: LastCall, refusal: LateRefusal, at: Situation) -> Reopen | None:
    """Return how the notification is sent again, or None if it stays where it is in spite of this refusal.

    `at.vendor` is the vendor whose receipt this is.
    """
    n = last.notification
    if not refusal.moves_on or not is_about(last, refusal, at.vendor):
        return None
    if n.on_unknown == "hold" and not refusal.certain:
        return None
    if n.attempts >= at.policy.attempts_max or last.fallback not in (None, State.STANDBY, State.SKIPPED):
        return None
    outcome = refusal.outcome
    doubted = outcome.kind is OutcomeKind.FAILED and outcome.scope in (Scope.UNLISTED, Scope.VENDOR)
    trail = Trail(refusals=max(0, n.attempts - 1)).after(at.vendor, refused=True, doubted=doubted)
    wait_s = 0.0 if at.next_of(n, trail.tried) else refused_wait_s(trail.refusals, at.policy, at.chance)
    if wait_s:
        trail = trail.next_round(refusals=1)
    wait_ms = within_life_ms(max(1, int(wait_s * 1000)), n.expires_ms - at.now_ms)
    return None if wait_ms is None else Reopen(wait_ms, trail)


def is_about(last: LastCall, refusal: LateRefusal, vendor: str) -> bool:
    """Return True if the refusal is about the last call (rule 2): the vendor and the vendor's message id are the same.

    A held notification has no message id, because no answer came. So the vendors and the marks of the calls are
    compared. This is enough, because only one call with this mark can have reached a vendor: before the next one, the
    notification is redriven or reopened.
    """
    if vendor != last.vendor or refusal.call not in (None, last.notification.mark):
        return False
    return last.notification.state is State.HELD or (
        bool(last.message_id) and (refusal.message_id + ".").startswith(last.message_id + ".")
    )


def evidence_of(last: LastCall, refusal: LateRefusal, vendor: str, now_ms: int) -> Scope | None:
    """Return the scope if this refusal is evidence against the vendor: `Scope.ACCOUNT` or `Scope.ROUTE` (rule 6).

    Return None if the refusal is no evidence.
    """
    if not is_about(last, refusal, vendor) or now_ms - last.at_ms > EVIDENCE_MS:
        return None
    outcome = refusal.outcome
    is_ours = outcome.kind is OutcomeKind.FAILED and outcome.scope in (Scope.ACCOUNT, Scope.ROUTE)
    return outcome.scope if is_ours else None
