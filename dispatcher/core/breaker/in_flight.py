"""The open calls of one breaker: when each call began, when its lease ends, and whether the calls hang."""

from __future__ import annotations

from collections.abc import Iterable

from dispatcher.core.breaker.config import BreakerConfig
from dispatcher.core.breaker.values import Permit
from dispatcher.core.breaker.window import Counts, Window


class InFlight:
    """The permits that were granted and have no result yet.

    When the breaker enters a new state, all these permits are forgotten, so their results count no longer.
    """

    def __init__(self, config: BreakerConfig) -> None:
        self._config, self._slow_ns = config, config.slow_ns
        self.answered_ns = 0  # the time of the last success
        self._looked_ns = 0  # the calls were checked for an outage up to here
        self._granted: dict[Permit, int] = {}  # oldest first
        self._leased: set[Permit] = set()

    def __bool__(self) -> bool:
        """Return True if any call is in flight."""
        return bool(self._granted)

    def begin(self, now_ns: int) -> None:
        """Forget all calls, because a new state of the breaker begins at `now_ns`."""
        self.clear()
        self.answered_ns = self._looked_ns = now_ns

    def clear(self) -> None:
        self._granted.clear()
        self._leased.clear()

    def watch(self, permit: Permit, now_ns: int) -> None:
        """Note that the call of `permit` began now.

        The call counts as slow after `slow_ns`, even while it is in flight.
        """
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

    def hang(self, at_ns: int, counts: Counts, *, least: int, in_a_row: int) -> bool:
        """Return True if the slow calls in flight, together with the window's results `counts`, show an outage.

        Each slow call in flight counts as a slow result, and the rate of slow results needs at least `least` results. A
        slow call in flight also lengthens the row of failures `in_a_row` by one, if no call has succeeded since the
        slow call began.
        """
        overdue, silent = self.overdue(at_ns, self.answered_ns)
        n, config = counts.n + overdue, self._config
        too_slow = overdue > 0 and n >= least and (counts.slow + overdue) * 100 >= config.slow_rate * n
        return too_slow or (silent > 0 and 0 < config.consecutive_failures <= in_a_row + silent)

    def outage_began_ns(self, now_ns: int, window: Window, *, least: int, in_a_row: int) -> int | None:
        """Return the first moment since the last check at which the calls in flight hang. Return None if there is no
        such moment.

        Whether calls hang can change only when a call becomes slow or a result leaves the window. So only these moments
        are checked.
        """
        since_ns, self._looked_ns = self._looked_ns, now_ns
        overdue = list(self.became_overdue(now_ns))
        if not overdue:
            return None
        first_ns = max(overdue[0], since_ns)
        moments = {first_ns, now_ns, *window.expiries(first_ns, now_ns)}
        moments.update(at_ns for at_ns in overdue if at_ns > first_ns)
        found = (
            at_ns for at_ns in sorted(moments) if self.hang(at_ns, window.counts(at_ns), least=least, in_a_row=in_a_row)
        )
        return next(found, None)
