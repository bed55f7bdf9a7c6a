"""Divides a vendor's contract rate among its actors. The sum never exceeds the rate, whichever message gets lost.

Rules:

1. An actor that the plan does not name sends nothing. A new actor waits for the plan that names it.
2. A share shrinks at once. But an actor may still work by an earlier plan. So the larger share counts as used until the
   actor has confirmed the new plan, or was declared dead, so that it can claim nothing more.
3. A share grows only by the part of the rate that is free by rule 2.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

LEAST_CHANGE = 1e-6
"""A change of a share by less than this part of the rate is only rounding, and no reason for a new plan."""


@dataclass(frozen=True, slots=True)
class Share:
    """The share of the contract rate that one actor gets, in calls per second.

    `per_s` is what this plan gives the actor. An earlier plan may have given it more. `most_per_s` is the most that the
    actor may still use, because it may not know this plan yet.
    """

    per_s: float
    most_per_s: float


def divide(
    rate_per_s: float, live: Sequence[str], before: Mapping[str, Share], confirmed: Collection[str]
) -> dict[str, Share]:
    """Return the next share of each incarnation in `live`. With each plan the shares become more equal.

    `before` are the shares of the plan in force. `confirmed` are the incarnations that have reported that they use that
    plan. If the sum of `most_per_s` was at most `rate_per_s` before, the new sum is at most `rate_per_s` too.
    """
    if not live:
        return {}
    fair = rate_per_s / len(live)
    share = {name: min(fair, before[name].per_s) if name in before else 0.0 for name in live}
    most = {name: max(share[name], _still_used(before.get(name), name in confirmed)) for name in live}
    free = max(0.0, rate_per_s - sum(most.values()))
    for name in live:
        grown = min(fair, most[name] + free)
        if grown - share[name] > rate_per_s * LEAST_CHANGE:
            free -= max(0.0, grown - most[name])
            share[name], most[name] = grown, max(grown, most[name])
    return {name: Share(share[name], most[name]) for name in live}


def _still_used(before: Share | None, confirmed: bool) -> float:
    if before is None:
        return 0.0
    return before.per_s if confirmed else before.most_per_s
