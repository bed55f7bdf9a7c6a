"""The decisions which lanes may claim and which lanes are full, so that urgent messages always have room.

Urgent lanes are claimed first. This order is not enough if a vendor needs seconds for a call: bulk calls in flight
would use every permit, and a login code would have to wait until one of them ends. So bulk leaves a quarter of the
permits free, and at least one if there are two or more. High and normal may use all permits. Because of this rule, a
bulk run that is limited by permits takes longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dispatcher.core.life.choices import PRIORITIES
from dispatcher.core.life.notification import Lane

BULK = "bulk"


def bulk_calls_max(limit: int) -> int:
    """Return how many of `limit` calls in flight may belong to bulk lanes. If the limit is one, bulk may use it."""
    return limit - max(1, limit // 4) if limit > 1 else limit


def claimable(lanes: Sequence[Lane], free: int, limit: int, bulk_in_flight: int) -> tuple[list[Lane], int]:
    """Return the lanes that may claim now, and how many entries. `free` is how many calls may begin in all.

    Bulk calls have a limit of their own. If it allows more bulk calls, all lanes may claim, but only as many entries as
    further bulk calls are allowed. Urgent lanes are claimed first, so urgent entries do not wait for a second claim. If
    it allows no more bulk calls, the other lanes may claim up to `free`.
    """
    room = bulk_calls_max(limit) - bulk_in_flight
    if room > 0:
        return list(lanes), min(free, room)
    return [lane for lane in lanes if lane.priority != BULK], free


def full_lanes(mailbox: str, queued: Mapping[str, int], most: int) -> set[Lane]:
    """Return the lanes of a mailbox that are full.

    A lane is full if at least `most` entries wait in it and in the more urgent lanes together. So a bulk run fills only
    its own lane. Login codes are still accepted, because they go first.
    """
    found, waiting = set(), 0
    for priority in PRIORITIES:  # the most urgent first
        waiting += queued.get(priority, 0)
        if waiting >= most:
            found.add(Lane(mailbox, priority))
    return found


def crowding(waiting: Mapping[str, int], others: int, most: int) -> frozenset[str] | None:
    """Return the tenants whose triggers a full lane refuses. So a flood of one tenant affects only that tenant.

    The lane has room for `most` notifications. `waiting` is how many of each tenant wait unclaimed in the lane.
    `others` is the number of further entries, whose tenants are not known. `most` minus `others` is divided into equal
    parts, one for each tenant in `waiting`. If a tenant uses less than its part, what is left is divided among the
    other tenants. A tenant that uses its whole part, or more, is refused. A tenant without notifications in the lane is
    never refused. None means that `others` alone fills the lane, and that every tenant is refused.

    With n tenants, the total stays below `most` × (1 + 1/2 + … + 1/n). The store's memory has a limit of its own.
    """
    left, tenants = most - others, sorted(waiting, key=waiting.__getitem__)
    if left <= 0:
        return None
    for n, tenant in enumerate(tenants):
        level = left / (len(tenants) - n)
        if waiting[tenant] >= level:
            return frozenset(tenants[n:])
        left -= waiting[tenant]
    return frozenset()
