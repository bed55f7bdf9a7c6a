"""The calls in flight of one breaker: when each began, and when the lease of its permit ends."""

from __future__ import annotations

from collections.abc import Iterable

from dispatcher.core.breaker.values import Permit


class InFlight:
    """The permits that were granted and have no result yet. A new state of the breaker begins without any."""

    def __init__(self, slow_ns: int) -> None:
        self._slow_ns = slow_ns
        self._granted: dict[Permit, int] = {}  # oldest first
        self._leased: set[Permit] = set()

    def __bool__(self) -> bool:
        """Return True if any call is in flight."""
        return bool(self._granted)

    def clear(self) -> None:
        self._granted.clear()
        self._leased.clear()

    def watch(self, permit: Permit, now_ns: int) -> None:
        """Note that the call of `permit` began now. It counts as slow after `slow_ns`, even while it is in flight."""
        self._granted[permit] = now_ns

    def lease(self, permit: Permit, until_ns: int) -> None:
        """Note that the call counts as lost if it has no result at `until_ns`."""
        permit.lease_until_ns = until_ns
        self._leased.add(permit)

    def end(self, permit: Permit) -> None:
        self._leased.discard(permit)
        self._granted.pop(permit, None)

    def next_lease(self) -> tuple[Permit, int] | None:
        """Return the permit whose lease ends first, and when that is. Return None if no permit has a lease."""
        ends = ((permit, permit.lease_until_ns or 0) for permit in self._leased)
        return min(ends, key=lambda end: end[1], default=None)

    def overdue(self, at_ns: int, since_ns: int = 0) -> tuple[int, int]:
        """Return how many calls are slow and still in flight, and how many of these began at `since_ns` or later."""
        overdue = late = 0
        for granted_ns in self._granted.values():
            if at_ns - granted_ns <= self._slow_ns:
                break
            overdue += 1
            late += granted_ns >= since_ns
        return overdue, late

    def became_overdue(self, until_ns: int) -> Iterable[int]:
        """Yield the times up to `until_ns` at which calls in flight became slow, the earliest first."""
        for granted_ns in self._granted.values():
            at_ns = granted_ns + self._slow_ns + 1
            if at_ns > until_ns:
                return
            yield at_ns
