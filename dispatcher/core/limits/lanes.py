"""The choice of lanes that may claim, and of lanes that are full, so that urgent messages always have room.

Lanes order the claims. That is not enough if a vendor needs seconds for a call: bulk calls in flight would use every
permit, and a login code would wait for the first of them to end. So bulk leaves a quarter of the permits free, and at
least one of two. High and normal may use all permits. A bulk run is that much slower if permits limit it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dispatcher.core.life.choices import PRIORITIES
from dispatcher.core.life.notification import Lane

BULK = "bulk"


def bulk_calls_max(limit: int) -> int:
    """Return how many of `limit` calls in flight may be of bulk lanes. With a limit of one, bulk may use it."""
    return limit - max(1, limit // 4) if limit > 1 else limit


def claimable(lanes: Sequence[Lane], free: int, limit: int, bulk_in_flight: int) -> tuple[list[Lane], int]:
    """Return the lanes that may claim, and the number of entries. `free` is the number of calls that may begin at all.

    While bulk has room, all lanes may claim, up to that room: the order of lanes claims the urgent entries first, and
    nothing waits for a second claim. Without room for bulk, the other lanes may claim up to `free`.
    """
    room = bulk_calls_max(limit) - bulk_in_flight
    if room > 0:
        return list(lanes), min(free, room)
    return [lane for lane in lanes if lane.priority != BULK], free


def full_lanes(mailbox: str, queued: Mapping[str, int], most: int) -> set[Lane]:
    """Return the full lanes of a mailbox: at least `most` entries of the same or a more urgent priority wait there.

    A bulk run fills only its own lane. Login codes are still accepted, because they go first.
    """
    found, waiting = set(), 0
    for priority in PRIORITIES:  # the most urgent first
        waiting += queued.get(priority, 0)
        if waiting >= most:
            found.add(Lane(mailbox, priority))
    return found


def crowding(waiting: Mapping[str, int], others: int, most: int) -> frozenset[str] | None:
    """Return the tenants that a full lane refuses, so that one tenant's flood refuses that tenant only.

    `waiting` is how many notifications of each tenant wait unclaimed there, and `others` how many more entries there
    are, of nobody in particular. What `most` leaves is divided evenly: a tenant is refused whose notifications reach
    the level up to which all together would fit. A tenant with nothing there is never refused. None means that nothing
    is left to divide, so that everybody is refused.

    The total stays below `most` × (1 + 1/2 + … + 1/n) with n tenants. The store's memory has a bound of its own.
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
