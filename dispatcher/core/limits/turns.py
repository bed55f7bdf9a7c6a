"""The order in which tenants of one lane are claimed: weighted deficit round robin (Shreedhar and Varghese, 1995).

Rules:

1. A tenant whose notifications wait has one turn in a ring. Its turn gives it `weight` notifications, in their order.
2. A turn that a claim interrupts goes on with the next claim. What is left of it is the deficit of the algorithm. Each
   notification costs one and each weight is a whole number, so a deficit is left only within a turn.
3. A tenant that has more goes to the tail of the ring. A tenant that has no more leaves it, and loses what was left.

Guarantees, whatever the claims ask for:

* Nothing rests: a claim gets what it asks for while anything waits.
* Nothing starves: a tenant's next notification follows after at most the sum of the other weights.
* Over any stretch in which two tenants always wait, what they got, each divided by its weight, differs by at most one.

`adapters/redis/scripts/_turns.lua` does the same in Redis; a contract test runs both on random histories.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

DIRECT = 32
"""From so many unclaimed entries of a lane on, further entries wait in their tenants' queues.

A newcomer may find so many entries before it when a backlog begins: 0.1 s of a vendor's 320 calls/s. A lane without a
backlog gathers fewer between two claims, so turns cost it nothing.
"""

WEIGHT_MAX = 100
"""The most notifications of one turn: the others wait for it."""


class Turn(NamedTuple):
    """A tenant's place in the ring.

    `left` is how many notifications remain of a turn that a claim interrupted; 0: its turn has not begun.
    """

    tenant: str
    left: int = 0


def serve(
    turns: Sequence[Turn], queued: Mapping[str, int], weights: Mapping[str, int], want: int
) -> tuple[list[tuple[str, int]], tuple[Turn, ...]]:
    """Return which tenant is served how many notifications, in order, and the ring afterwards.

    `queued` is how many notifications of each tenant wait, `weights` has the tenants whose weight is not 1, and `want`
    is how many notifications are wanted. Fewer are served only if fewer wait.
    """
    ring, waiting, served = deque(turns), dict(queued), list[tuple[str, int]]()
    while ring and want > 0:
        tenant, left = ring.popleft()
        left = left or weights.get(tenant, 1)
        count = min(left, want, waiting.get(tenant, 0))
        if count:
            served.append((tenant, count))
            waiting[tenant] -= count
        want, left = want - count, left - count
        if not waiting.get(tenant, 0):
            continue
        if left > 0:
            ring.appendleft(Turn(tenant, left))
        else:
            ring.append(Turn(tenant))
    return served, tuple(ring)
