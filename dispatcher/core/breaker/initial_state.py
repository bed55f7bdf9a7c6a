"""In which state the breaker of a new vendor actor begins.

Rules:

1. What its predecessor wrote wins: each change of state is written, so it is the last that was known, however old. An
   open wait goes on with what is left of it.
2. Unless the plan says worse: nobody begins closed where all evidence together said the vendor is down.
3. Nothing written: closed if the plan has the vendor closed, or there is no plan; else half-open. A crash is not to
   turn a vendor that is down into a fresh one.
4. Results are inherited from the dead alone. A living sibling counts its own, and both are summed.
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
    """What to restore; None: begin closed and fresh. `planned`: the vendor's state in the plan, None without one."""
    if written is None:
        return None if planned in (None, CLOSED, FORCED_OPEN) else UNKNOWN
    if written.state is BreakerState.CLOSED and planned in (OPEN, HALF_OPEN):
        return replace(UNKNOWN, attempts=max(1, written.attempts))
    if written.state not in (BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN):
        return None  # an operator's word, which lives in the plan
    return replace(written, rows=Rows(), in_a_row=0) if author_lives else written
