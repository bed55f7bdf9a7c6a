"""Limits on the start of calls. The plan gives each actor a share of the vendor's contract rate."""

from __future__ import annotations

import math


class TokenBucket:
    """Grants permits at `rate_per_s`. A rate of None means no limit, and 0 means no permits.

    Unused permits are saved, but at most the permits of a tenth of a second, or one permit if this is more. Vendors
    measure a contract rate over a second or less, so more saved permits could exceed the contract rate.
    """

    def __init__(self, rate_per_s: float | None, now_s: float) -> None:
        self._rate = rate_per_s
        self._tokens = 0.0
        self._at_s = now_s

    @property
    def rate_per_s(self) -> float | None:
        return self._rate

    @property
    def burst(self) -> int | None:
        """Return the greatest number of permits that can be saved, or None without a limit."""
        return None if self._rate is None else int(_burst(self._rate))

    def set_rate(self, rate_per_s: float | None, now_s: float) -> None:
        self._refill(now_s)
        self._rate = rate_per_s
        if rate_per_s is not None:  # permits saved under a larger share do not count
            self._tokens = min(self._tokens, _burst(rate_per_s))

    def available(self, now_s: float) -> int | None:
        """Return how many whole permits there are now, or None without a limit."""
        if self._rate is None:
            return None
        self._refill(now_s)
        return int(self._tokens)

    def spend(self, count: int) -> None:
        if self._rate is not None:
            self._tokens -= count

    def give_back(self) -> None:
        """Give back a permit that was spent although nothing was sent.

        Even so, no more than `burst` permits are saved.
        """
        if self._rate is not None:
            self._tokens = min(_burst(self._rate), self._tokens + 1)

    def wait_s(self) -> float:
        """Return the seconds until a whole permit is available; 0 if there is one, infinity if the rate is 0."""
        if self._rate is None or self._tokens >= 1:
            return 0.0
        if self._rate == 0:
            return math.inf
        return (1 - self._tokens) / self._rate

    def _refill(self, now_s: float) -> None:
        if self._rate is not None:
            self._tokens = min(_burst(self._rate), self._tokens + max(0.0, now_s - self._at_s) * self._rate)
        self._at_s = now_s


def _burst(rate_per_s: float) -> float:
    return max(1.0, rate_per_s * 0.1) if rate_per_s else 0.0


class Throughput:
    """The calls per second and their mean duration over the last seconds, for the actor's report."""

    def __init__(self, now_s: float) -> None:
        self.per_s = self.latency_s = 0.0
        self._calls, self._duration_s, self._since_s = 0, 0.0, now_s

    def note(self, duration_s: float) -> None:
        self._calls += 1
        self._duration_s += duration_s

    def read(self, now_s: float) -> tuple[float, float]:
        """Return the calls per second, and their mean duration in seconds. Both values are 0 before the first call.

        The rate is smoothed: the weight of a past value halves each second. If no call ended since the previous
        reading, the duration is again that of the previous reading.
        """
        passed_s = now_s - self._since_s
        if passed_s > 0:
            weight = 0.5 ** min(passed_s, 30.0)
            self.per_s = weight * self.per_s + (1 - weight) * self._calls / passed_s
            if self._calls:
                self.latency_s = self._duration_s / self._calls
            self._calls, self._duration_s, self._since_s = 0, 0.0, now_s
        return self.per_s, self.latency_s


class RecentRate:
    """The recent calls per second, smoothed over a few seconds. Reading the rate does not change it."""

    def __init__(self, now_s: float) -> None:
        self._per_s = 0.0
        self._count, self._since_s = 0, now_s

    def note(self, count: int, now_s: float) -> None:
        self._count += count
        passed_s = now_s - self._since_s
        if passed_s >= 1.0:
            weight = 0.5 ** min(passed_s, 30.0)
            self._per_s = weight * self._per_s + (1 - weight) * self._count / passed_s
            self._count, self._since_s = 0, now_s

    def per_s(self) -> float:
        return self._per_s
