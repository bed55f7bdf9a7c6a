"""The decision whether a notification's fallback begins. A fallback is another message to the same recipient.

The fallback goes out on another channel, if the first notification does not succeed. Rules:

1. A fallback is stored together with the first notification and waits in the state `standby`. Only one step of the
   store, `begin`, decides about it. The end of the first notification only makes that step come sooner.
2. The fallback ends as `skipped` if the first notification succeeds. Success is a vendor's acceptance or, if the
   fallback waits for delivery, a receipt that says "delivered". The fallback is also skipped if the first notification
   was cancelled or suppressed, because then nobody wants either message sent. If a receipt reopens a first notification
   that was settled (`late_refusal`), its skipped fallback is back in `standby`.
3. The fallback begins if the first notification is dead, for whatever reason, or if a receipt says "not delivered".
4. The fallback also begins `after_s` after the time at which the first notification was to be sent. If the first
   notification still waits then, the same step withdraws it, so it is not sent later.
5. While an actor has claimed the first notification, a call may be sending it, so the fallback waits. Each call has a
   deadline. While the first notification is held, it may have arrived, and `hold` promises that nothing is sent twice.
   So the fallback waits until the first notification is no longer held. Both are sent only if a vendor delivered the
   first notification but could not tell us.
6. The fallback's time to live starts when the fallback begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dispatcher.core.life.choices import WaitFor
from dispatcher.core.life.notification import State

LOOK_AGAIN_MS = 1_000
"""The wait in milliseconds before the store looks again at a first notification that an actor has claimed."""

LOOK_AT_HELD_AGAIN_MS = 60_000
"""The wait in milliseconds before the store looks again at a first notification that is held.

It is only a safety net: when the hold ends, the store looks at once.
"""

NEEDED_NOT = "not_needed"
"""The reason of a fallback that was skipped because the first notification succeeded."""

OVERTAKEN = "fallback"
"""The reason of a first notification that was cancelled because its fallback began."""

WAITING = frozenset((State.QUEUED, State.STARTED, State.DUE, State.DELAYED))


class Fate(Enum):
    """The three decisions that are possible about a fallback: it begins, it is skipped, or it goes on waiting."""

    BEGIN = "begin"
    SKIP = "skip"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class First:
    """The state of the notification that a fallback would replace. `claimed` is True while an actor has claimed this
    first notification.

    `receipt` is what a receipt said about the message that the vendor accepted: `delivered`, `undelivered`, or None.
    """

    state: State
    claimed: bool = False
    receipt: str | None = None


def decide_fallback(first: First, wait_for: WaitFor, is_late: bool) -> Fate:
    """Return the decision about a fallback, which follows from the state of its `first` notification.

    `is_late` is True if the fallback has an `after_s` and that time has passed.
    """
    match first.state:
        case State.SETTLED if wait_for == "accepted" or first.receipt == "delivered":
            return Fate.SKIP
        case State.SETTLED:
            return Fate.BEGIN if is_late or first.receipt == "undelivered" else Fate.WAIT
        case State.DEAD:
            return Fate.BEGIN
        case State.CANCELLED | State.SUPPRESSED | State.SKIPPED:
            return Fate.SKIP
        case _ if is_late and first.state in WAITING and not first.claimed:
            return Fate.BEGIN
    return Fate.WAIT


def look_again_ms(first: First, now_ms: int, *, begin_ms: int | None, expires_ms: int) -> int:
    """Return when the store looks again at a fallback that waits, in wall milliseconds.

    If the first notification ends before that time, the store looks at once.

    Args:
        begin_ms: the time at which the fallback begins anyway, in wall milliseconds; None if it has no such time.
        expires_ms: the end of the first notification's time to live, in wall milliseconds.
    """
    if first.state is State.HELD:
        return now_ms + LOOK_AT_HELD_AGAIN_MS
    planned_ms = expires_ms + LOOK_AGAIN_MS if begin_ms is None else begin_ms
    return max(planned_ms, now_ms + LOOK_AGAIN_MS)
