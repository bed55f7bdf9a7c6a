"""The adaptive limit on calls in flight: as many as a vendor can handle without becoming slower.

The algorithm follows Netflix's Gradient2 (concurrency-limits), in windows of at least ten calls and a quarter of a
second:

1. `short` is the mean latency of the last window. `usual` is a slow average of the windows that were not too slow.
2. While `short` is at most 1.5 × `usual`, the limit grows a little, if at least half of it was in use.
3. If `short` is higher, the limit shrinks towards its share `1.5 × usual / short`, by at most a tenth in one window.
4. If the limit was halved and the calls are hardly faster, our concurrency is not the cause. Then `usual` gets the
   value of `short`. (Gradient2 has a single average. Under a lasting load this average forgets what the vendor can
   handle. If the vendor itself has become slow, Gradient2 sends it almost nothing.)
5. A throttled call shrinks the limit to 0.7 of its value, and a call without an answer in time to 0.9. This happens at
   once, and at most once per window.

A failure that the vendor answered says nothing about its load. The breaker decides what it says about its health.
"""

from __future__ import annotations

WINDOW_S = 0.25
WINDOW_CALLS = 10
TOLERANCE = 1.5
SMOOTHING = 0.2
QUEUE = 4.0
"""How many calls beyond the computed limit may wait at the vendor. Without them the limit would never grow."""

USUAL_WEIGHT = 1 / 60
HARDLY_FASTER = 0.75
THROTTLED = 0.7
UNANSWERED = 0.9


class AdaptiveLimit:
    """A limit between `floor` and `cap`. The limit begins at `cap`, so a vendor that stays fast is never limited."""

    def __init__(self, floor: int, cap: int, now_s: float) -> None:
        self._floor, self._cap = float(floor), float(cap)
        self._limit = self._cap
        self._usual_s = 0.0
        self._slow_since: tuple[float, float] | None = None  # limit and latency at the first slow window
        self._sum_s, self._calls, self._most, self._since_s = 0.0, 0, 0, now_s
        self._cut_s = now_s - WINDOW_S

    @property
    def value(self) -> int:
        return int(self._limit)

    def answered(self, duration_s: float, in_flight: int, now_s: float) -> None:
        """Note an answer that came after `duration_s`.

        `in_flight` is how many calls were in flight, including this one.
        """
        self._sum_s += duration_s
        self._calls += 1
        self._most = max(self._most, in_flight)
        if self._calls >= WINDOW_CALLS and now_s - self._since_s >= WINDOW_S:
            self._end_window(now_s)

    def throttled(self, now_s: float) -> None:
        self._cut(THROTTLED, now_s)

    def unanswered(self, now_s: float) -> None:
        self._cut(UNANSWERED, now_s)

    def _cut(self, factor: float, now_s: float) -> None:
        if now_s - self._cut_s >= WINDOW_S:  # calls in flight together are one event
            self._cut_s = now_s
            self._set(self._limit * factor)

    def _end_window(self, now_s: float) -> None:
        short_s = max(1e-6, self._sum_s / self._calls)
        crowded = self._most >= self._limit / 2
        self._sum_s, self._calls, self._most, self._since_s = 0.0, 0, 0, now_s
        gradient = min(1.0, max(0.5, TOLERANCE * self._usual_s / short_s)) if self._usual_s else 1.0
        if gradient < 1.0:
            self._suspect(short_s)
        else:
            self._slow_since = None
            self._usual_s += (USUAL_WEIGHT if self._usual_s else 1.0) * (short_s - self._usual_s)
            self._usual_s = min(self._usual_s, 2 * short_s)
        if gradient < 1.0 or crowded:
            wanted = self._limit * gradient + QUEUE
            self._set((1 - SMOOTHING) * self._limit + SMOOTHING * wanted)

    def _suspect(self, short_s: float) -> None:
        """Note a window of time in which the vendor was too slow.

        Suppose that the concurrency was halved since the first slow window, or is at its minimum, and that the vendor
        is hardly faster. Then fewer calls do not help, and the present latency becomes the usual latency.
        """
        if self._slow_since is None:
            self._slow_since = self._limit, short_s
        limit, slow_s = self._slow_since
        if self._limit <= limit / 2 or self._limit == self._floor:
            if short_s > HARDLY_FASTER * slow_s:
                self._usual_s = short_s
            self._slow_since = self._limit, short_s

    def _set(self, limit: float) -> None:
        self._limit = min(self._cap, max(self._floor, limit))
