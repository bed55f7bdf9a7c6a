"""How many calls of one actor may be in flight: as many as its vendor carries without becoming slower.

After Netflix's Gradient2 (concurrency-limits), by windows of at least ten calls and a quarter of a second:

1. `short` is the mean latency of the last window; `usual` a slow average of the windows that were not too slow.
2. While `short` is not above 1.5 × `usual`, the limit grows by a little, provided that half of it was in use.
3. Above that it shrinks towards its share `1.5 × usual / short`, by at most a tenth in one window.
4. When it has been halved and the calls are hardly faster, the slowness is not ours: it becomes the usual. (Gradient2
   has one average for all: it forgets what the vendor carries under a lasting load, and starves one that grew slow.)
5. A throttled call shrinks it to 0.7, one without an answer in time to 0.9, at once and once in a window.

A failure that the vendor answered says nothing about its load; what it says about its health is the breaker's matter.
"""

from __future__ import annotations

WINDOW_S = 0.25
WINDOW_CALLS = 10
TOLERANCE = 1.5
SMOOTHING = 0.2
QUEUE = 4.0
"""Calls beyond the limit's share that may wait at the vendor: without them a limit never grows."""

USUAL_WEIGHT = 1 / 60
HARDLY_FASTER = 0.75
THROTTLED = 0.7
UNANSWERED = 0.9


class AdaptiveLimit:
    """Between `floor` and `cap`, beginning at `cap`: a vendor that never slows down is never held back."""

    def __init__(self, floor: int, cap: int, now_s: float) -> None:
        self._floor, self._cap = float(floor), float(cap)
        self._limit = self._cap
        self._usual_s = 0.0
        self._slow_since: tuple[float, float] | None = None  # limit and latency when it began to shrink
        self._sum_s, self._calls, self._most, self._since_s = 0.0, 0, 0, now_s
        self._cut_s = now_s - WINDOW_S

    @property
    def value(self) -> int:
        return int(self._limit)

    def answered(self, took_s: float, in_flight: int, now_s: float) -> None:
        """The vendor answered within `took_s`, with `in_flight` calls under way, this one included."""
        self._sum_s += took_s
        self._calls += 1
        self._most = max(self._most, in_flight)
        if self._calls >= WINDOW_CALLS and now_s - self._since_s >= WINDOW_S:
            self._end_window(now_s)

    def throttled(self, now_s: float) -> None:
        self._cut(THROTTLED, now_s)

    def unanswered(self, now_s: float) -> None:
        self._cut(UNANSWERED, now_s)

    def _cut(self, factor: float, now_s: float) -> None:
        if now_s - self._cut_s >= WINDOW_S:  # what was in flight together is one event
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
        """Is it our concurrency that makes the vendor slow? Half of it would tell."""
        if self._slow_since is None:
            self._slow_since = self._limit, short_s
        limit, slow_s = self._slow_since
        if self._limit <= limit / 2 or self._limit == self._floor:
            if short_s > HARDLY_FASTER * slow_s:
                self._usual_s = short_s
            self._slow_since = self._limit, short_s

    def _set(self, limit: float) -> None:
        self._limit = min(self._cap, max(self._floor, limit))
