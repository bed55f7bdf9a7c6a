"""The decision in which state the breaker of a new vendor actor begins.

Rules:

1. The state that the predecessor wrote wins. Each change is written, so it is the last known state, however old. An
   open wait continues with the time that is left.
2. The plan wins if its state is worse. A breaker must not begin closed if all evidence together says that the vendor
   is down.
3. If nothing was written, the breaker begins closed if the plan says closed or there is no plan, else half-open. A
   crash must not make a vendor that is down look fresh.
4. Results are inherited only from a dead actor. A living sibling counts its own results, and both are summed.
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
    """Return what to restore, or None to begin closed and fresh. `planned` is the vendor's state in the plan."""
    if written is None:
        return None if planned in (None, CLOSED, FORCED_OPEN) else UNKNOWN
    if written.state is BreakerState.CLOSED and planned in (OPEN, HALF_OPEN):
        return replace(UNKNOWN, attempts=max(1, written.attempts))
    if written.state not in (BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN):
        return None  # an operator's override, which the plan carries
    return replace(written, rows=Rows(), in_a_row=0) if author_lives else written
