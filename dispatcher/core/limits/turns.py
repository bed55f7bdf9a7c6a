"""The order in which the tenants of a lane are served: weighted deficit round robin (Shreedhar and Varghese, 1995).

Rules:

1. Each tenant whose notifications wait has one place in a ring. Its turn gives it `weight` notifications, in their
   order.
2. If a claim ends during a turn, the next claim continues that turn. What is left of the turn is the algorithm's
   deficit. Each notification costs one and each weight is a whole number, so a deficit exists only within a turn.
3. After its turn, a tenant with more notifications goes to the end of the ring. A tenant without any more notifications
   leaves the ring, and loses what was left of its turn.

Guarantees, whatever the claims ask for:

* No pause: a claim gets as many as it asks for while enough notifications wait.
* No starving: before a tenant's next turn, the others get at most the sum of their weights.
* Fairness: take any period in which two tenants always wait, and divide what each got by its weight. The two results
  differ by at most one.

`adapters/redis/scripts/_turns.lua` does the same in Redis. A contract test runs both on random histories.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

DIRECT = 32
"""The number of unclaimed entries in a lane from which on further entries wait in queues of their tenants.

When a backlog begins, a tenant may find this number of entries in front of its own: 0.1 s of a vendor's 320 calls/s. A
lane without a backlog gathers fewer between two claims, so turns cost it nothing.
"""

WEIGHT_MAX = 100
"""The greatest weight, and so the most notifications in one turn. All other tenants wait during a turn."""


class Turn(NamedTuple):
    """A tenant's place in the ring, which is the order in which the tenants of a lane take turns.

    `left` is how many notifications remain of a turn that began in an earlier claim. It is 0 if the turn has not begun.
    """

    tenant: str
    left: int = 0


def serve(
    turns: Sequence[Turn], queued: Mapping[str, int], weights: Mapping[str, int], want: int
) -> tuple[list[tuple[str, int]], tuple[Turn, ...]]:
    """Return which tenant gets how many notifications, in order, and the ring afterwards.

    The ring has the tenants in the order of their turns. `turns` is the ring before. `queued` is how many notifications
    of each tenant wait. `weights` has the tenants whose weight is not 1. `want` is how many notifications are wanted in
    all. Fewer are served only if fewer wait.
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
