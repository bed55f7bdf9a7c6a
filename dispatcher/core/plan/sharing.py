"""Divides a vendor's contract rate among its actors. The sum is never above the rate, whichever message is lost.

Rules:

1. An actor that the plan does not name sends nothing. A new actor waits for the plan that names it.
2. A share shrinks at once. But an actor may work by an earlier plan until it says otherwise. So the larger share counts
   as used until the actor has confirmed the new plan, or is dead and fenced.
3. A share grows only into the rate that is free by rule 2.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

LEAST_CHANGE = 1e-6
"""A smaller difference in a share is a division's rounding, and no reason for a new plan."""


@dataclass(frozen=True, slots=True)
class Share:
    """One actor's calls per second: `per_s` by this plan, and `most_per_s` that it may still use by an earlier one."""

    per_s: float
    most_per_s: float


def divide(
    rate_per_s: float, live: Sequence[str], before: Mapping[str, Share], confirmed: Collection[str]
) -> dict[str, Share]:
    """Return the next share of each of the incarnations `live`. The shares move towards equal ones.

    `before` are the shares of the plan in force. `confirmed` are the incarnations that have said that they work by that
    plan. The sum of `most_per_s` is at most `rate_per_s`, if it was so before.
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
