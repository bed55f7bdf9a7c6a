"""The rule that an unsteady vendor gets new work back late: only after a minimum time without it, the *dwell*.

Rules:

1. A vendor whose state is not `closed` loses new work in the same plan, without delay.
2. After its first loss, a vendor gets new work back as soon as its breaker's staged recovery is over.
3. A vendor is unsteady if it got new work back and loses it again within `CALM` dwells. It then gets new work back
   `dwell_ms` after this loss at the earliest. So with a dwell of a minute, a vendor is switched at most twice in any
   minute. Only the first minute may have three switches: off, on, off.
4. An unsteady vendor waits only while each chain that names this vendor has another vendor that gets new work.
5. An operator's override is obeyed at once, and a switch by an override makes no vendor unsteady.

The breaker alone does not limit the number of switches. After a quiet minute its open wait begins at 5 s again, so a
vendor that failed for 2 s of every 20 was switched 5 times in one minute.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from dispatcher.core.plan.values import PlanConfig, VendorPlan

CALM = 10
"""A vendor is steady again when this many dwells have passed without a loss of new work."""


class Turn(NamedTuple):
    """The decision about one vendor: whether it gets new work, since when, and whether it is unsteady (rule 3).

    `switched_ms` is wall milliseconds. 0 means that new work was never switched, or that an override switched it.
    """

    accepts_new: bool
    switched_ms: int = 0
    unsteady: bool = False


def decide_turns(
    able: Collection[str], config: PlanConfig, before: Mapping[str, VendorPlan], *, told: Collection[str], now_ms: int
) -> dict[str, Turn]:
    """Return for each configured vendor, by its name, whether new work goes to it now.

    `able` are the vendors that could get new work, because their state is closed. `before` is each vendor's part of the
    previous plan. `told` are the vendors with an operator's override.
    """
    dwell_ms = config.dwell_ms
    takers = {name for name in able if name in told or not _dwells(before.get(name), now_ms, dwell_ms)}
    for chain in config.chains:
        waiting = [name for name in chain if name in able]
        if waiting and takers.isdisjoint(chain):
            takers.add(waiting[0])
    return {
        name: _turn(before.get(name), name in takers, told=name in told, now_ms=now_ms, dwell_ms=dwell_ms)
        for name in config.vendors
    }


def _dwells(was: VendorPlan | None, now_ms: int, dwell_ms: int) -> bool:
    if was is None or was.accepts_new or not was.unsteady:
        return False
    return 0 <= now_ms - was.switched_ms < dwell_ms


def _turn(was: VendorPlan | None, accepts: bool, *, told: bool, now_ms: int, dwell_ms: int) -> Turn:
    if was is None:
        return Turn(accepts)
    told = told or was.override is not None
    if accepts == was.accepts_new:
        return Turn(accepts, was.switched_ms, was.unsteady)
    soon = was.switched_ms > 0 and 0 <= now_ms - was.switched_ms < CALM * dwell_ms
    return Turn(accepts, 0 if told else now_ms, unsteady=not accepts and soon and not told)
