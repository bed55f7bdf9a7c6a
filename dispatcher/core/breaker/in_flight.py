"""The calls of one breaker state that have not ended: since when each is under way, and until when its permit holds."""

from __future__ import annotations

from collections.abc import Iterable

from dispatcher.core.breaker.values import Permit


class InFlight:
    """Granted, and not yet told about. All of one generation: a new state begins with none."""

    def __init__(self, slow_ns: int) -> None:
        self._slow_ns = slow_ns
        self._granted: dict[Permit, int] = {}  # oldest first
        self._leased: set[Permit] = set()

    def __bool__(self) -> bool:
        """Is any watched?"""
        return bool(self._granted)

    def clear(self) -> None:
        self._granted.clear()
        self._leased.clear()

    def watch(self, permit: Permit, now_ns: int) -> None:
        """Count it as slow once it has taken that long."""
        self._granted[permit] = now_ns

    def lease(self, permit: Permit, until_ns: int) -> None:
        """Its call counts as lost at `until_ns`."""
        permit.lease_until_ns = until_ns
        self._leased.add(permit)

    def end(self, permit: Permit) -> None:
        self._leased.discard(permit)
        self._granted.pop(permit, None)

    def next_lease(self) -> tuple[Permit, int] | None:
        """The permit whose lease ends first, and when."""
        ends = ((permit, permit.lease_until_ns or 0) for permit in self._leased)
        return min(ends, key=lambda end: end[1], default=None)

    def overdue(self, at_ns: int, since_ns: int = 0) -> tuple[int, int]:
        """How many are under way for longer than a slow call; and of these, how many began at `since_ns` or later."""
        overdue = late = 0
        for granted_ns in self._granted.values():
            if at_ns - granted_ns <= self._slow_ns:
                break
            overdue += 1
            late += granted_ns >= since_ns
        return overdue, late

    def became_overdue(self, until_ns: int) -> Iterable[int]:
        """When each that is overdue by then became so, the first first."""
        for granted_ns in self._granted.values():
            at_ns = granted_ns + self._slow_ns + 1
            if at_ns > until_ns:
                return
            yield at_ns
