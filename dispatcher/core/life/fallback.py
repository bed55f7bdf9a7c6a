"""The decision whether a notification's fallback begins: another message, on another channel, to the same recipient.

Rules:

1. A fallback is stored with the first notification and waits in the state `standby`. Its fate is decided by one step of
   the store, `begin`, and nowhere else. Whatever ends the first notification only makes that step come sooner.
2. Success of the first ends it as `skipped`. Success is a vendor's acceptance, or, if the fallback waits for delivery,
   a receipt that says "delivered". A first that was cancelled or suppressed ends it as well: nobody wants it sent.
3. It begins when the first is dead, for whatever reason, or when a receipt says "not delivered".
4. It also begins when its time has come, `after_s` after the first was to be sent. If the first still waits then, the
   same step withdraws it, so it is not sent after that.
5. While an actor has the first, it may be on its way to the recipient, so the fallback waits. Each call has a deadline.
   While the first is held, it may have arrived, and `hold` promises that nothing is sent twice: the fallback waits for
   the verdict. Hence never both are sent, unless a vendor delivered the first and could not say so.
6. Its time to live begins when it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dispatcher.core.life.choices import WaitFor
from dispatcher.core.life.notification import State

LOOK_AGAIN_MS = 1_000
"""The wait for a first notification that an actor has."""

LOOK_AT_HELD_AGAIN_MS = 60_000
"""The wait for a held one. The end of its hold makes the fallback look at once, so this is only a safety net."""

NEEDED_NOT = "not_needed"
"""The reason of a fallback that was skipped because the first succeeded."""

OVERTAKEN = "fallback"
"""The reason of a first notification that was cancelled because its fallback began."""

WAITING = frozenset((State.QUEUED, State.STARTED, State.DUE, State.DELAYED))


class Fate(Enum):
    """The decision about a fallback."""

    BEGIN = "begin"
    SKIP = "skip"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class First:
    """The first notification, as the store has it. `claimed` is True while an actor has its entry.

    `receipt` is `delivered`, `undelivered` (of the message that the vendor accepted), or None.
    """

    state: State
    claimed: bool = False
    receipt: str | None = None


def decide_fallback(first: First, wait_for: WaitFor, is_late: bool) -> Fate:
    """Return what becomes of the fallback. `is_late` tells whether its `after_s` is over; without one it never is."""
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
    """Return when a fallback that waits is looked at again, unless the end of the first comes before.

    Args:
        begin_ms: when its time comes; None: it has none.
        expires_ms: when the first one's time to live ends.
    """
    if first.state is State.HELD:
        return now_ms + LOOK_AT_HELD_AGAIN_MS
    planned_ms = expires_ms + LOOK_AGAIN_MS if begin_ms is None else begin_ms
    return max(planned_ms, now_ms + LOOK_AGAIN_MS)
