"""Which lanes may claim, and which are full, so that there is always room for what is urgent.

Lanes order what is claimed. Behind a vendor that takes seconds for a call that is not enough: bulk calls in flight
would hold every permit, and a code would wait for the first of them to end. So bulk leaves a quarter of the permits
alone, at least one of two; high and normal may have all. A bulk run is slower by that, where permits limit it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dispatcher.core.life.notification import PRIORITIES, Lane

BULK = "bulk"


def bulk_calls_max(limit: int) -> int:
    """How many of `limit` calls in flight may be of bulk lanes. A limit of one is nobody's alone."""
    return limit - max(1, limit // 4) if limit > 1 else limit


def claimable(lanes: Sequence[Lane], free: int, limit: int, bulk_in_flight: int) -> tuple[list[Lane], int]:
    """The lanes that may claim, and how many entries; `free`: calls that may begin at all.

    As long as bulk has room, the lanes are all of them and the number is that room: an order of lanes claims the urgent
    first, and nothing waits for a second claim. Without it they are the others, and the number is `free`.
    """
    room = bulk_calls_max(limit) - bulk_in_flight
    if room > 0:
        return list(lanes), min(free, room)
    return [lane for lane in lanes if lane.priority != BULK], free


def full_lanes(mailbox: str, queued: Mapping[str, int], most: int) -> set[Lane]:
    """The lanes of a mailbox that take nothing more: `most` wait there that are as urgent or more so.

    A bulk run fills its own lane only: codes behind it are still accepted, for they pass it.
    """
    found, waiting = set(), 0
    for priority in PRIORITIES:  # the most urgent first
        waiting += queued.get(priority, 0)
        if waiting >= most:
            found.add(Lane(mailbox, priority))
    return found
