"""How a vendor's contract rate is divided among its actors: their sum is never above it, whatever is lost on the way.

Rules:

1. Whoever is not named sends nothing. A new actor waits for the plan that names it.
2. A share shrinks at once. But its holder may work by an earlier plan until it says otherwise, so what it may still be
   using counts until it has confirmed the plan, or is dead and fenced.
3. A share grows only into what is free by that count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

LEAST_CHANGE = 1e-6
"""A smaller part of the rate is the rounding of a division, and no reason for a new plan."""


@dataclass(frozen=True, slots=True)
class Share:
    """Calls per second of one actor: by this plan, and the most it may still be using by an earlier one."""

    per_s: float
    most_per_s: float


def divide(
    rate_per_s: float, live: Sequence[str], before: Mapping[str, Share], confirmed: Collection[str]
) -> dict[str, Share]:
    """The next share of each of `live` (incarnations), towards equal ones.

    `before`: the shares of the plan in force; `confirmed`: who has said that it works by that plan. The sum of
    `most_per_s` is at most `rate_per_s`, if it was so before.
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
