"""Decides in which state the breaker of a new vendor actor begins.

Rules:

1. The state that the previous actor stored wins. Every change is stored, so this is the last known state, however old
   it is. An open breaker waits for the rest of its time.
2. The plan wins if its state is worse. The plan adds up all evidence, and a breaker must not begin closed if that
   evidence says that the vendor is down.
3. If no state was stored, the breaker begins closed if the plan says closed or if there is no plan. Otherwise it begins
   half-open. After a crash, a vendor that is down must not look as if it worked. If the vendor only lacked an actor
   for long (`Plan.unmanned`), the caller leaves the plan's state out, because that says nothing about the vendor.
4. The counted results are taken over only from a dead actor. If the previous actor lives, it still counts its own
   results, and the supervisor adds them to those of the new actor.
"""

from __future__ import annotations

from dataclasses import replace

from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.breaker.values import BreakerSnapshot
from dispatcher.core.breaker.window import Rows
from dispatcher.core.plan.values import CLOSED, FORCED_OPEN, HALF_OPEN, OPEN

UNKNOWN = BreakerSnapshot(BreakerState.HALF_OPEN, attempts=1)


def decide_beginning(
    written: BreakerSnapshot | None, author_lives: bool, planned: str | None
) -> BreakerSnapshot | None:
    """Return the breaker state with which a new actor begins. None means closed and without results.

    `written` is the state that an earlier actor of the vendor stored. `author_lives` is True if that actor is still
    live. `planned` is the vendor's state in the plan, or None without a plan.
    """
    if written is None:
        return None if planned in (None, CLOSED, FORCED_OPEN) else UNKNOWN
    if written.state is BreakerState.CLOSED and planned in (OPEN, HALF_OPEN):
        return replace(UNKNOWN, attempts=max(1, written.attempts))
    if written.state not in (BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN):
        return None  # an operator's override, which the plan carries
    return replace(written, rows=Rows(), in_a_row=0) if author_lives else written
