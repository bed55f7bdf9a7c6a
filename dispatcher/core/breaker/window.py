"""Sliding windows of results: of the last N calls, or of the last N whole seconds.

A window has four counters; a slow failure counts in `failed` and in `slow`. Only reading or recording moves a time
window on, so time alone never changes a breaker. All operations are O(1) amortised.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

SECOND_NS = 1_000_000_000


@dataclass(slots=True)
class Counts:
    """The numbers of results in a window. `failed` and `slow` both include `slow_failed`."""

    n: int = 0
    failed: int = 0
    slow: int = 0
    slow_failed: int = 0

    def add(self, failed: bool, slow: bool, by: int = 1) -> None:
        self.n += by
        self.failed += by * failed
        self.slow += by * slow
        self.slow_failed += by * (failed and slow)

    def subtract(self, other: Counts) -> None:
        self.n -= other.n
        self.failed -= other.failed
        self.slow -= other.slow
        self.slow_failed -= other.slow_failed


@dataclass(frozen=True, slots=True)
class Rows:
    """The content of a window, in the form in which it goes to another process.

    A row of `content` is (age of the bucket's start in ns, n, failed, slow, slow_failed), the oldest first. A count
    window has one row for each result, with age 0.
    """

    kind: str = "NONE"
    size: int = 0
    content: tuple[tuple[int, int, int, int, int], ...] = ()


class Window(Protocol):
    def record(self, now_ns: int, failed: bool, slow: bool) -> None: ...

    def counts(self, now_ns: int) -> Counts: ...

    def expiries(self, after_ns: int, until_ns: int) -> list[int]:
        """Return the moments in (`after_ns`, `until_ns`] at which results leave the window because of their age."""
        ...

    def rows(self, now_ns: int) -> Rows: ...


def window_of(rows: Rows, age_ns: int, now_ns: int) -> Window:
    """Return a window with the content `rows`, which another window had `age_ns` nanoseconds ago."""
    if rows.kind == "TIME":
        window = TimeWindow(rows.size)
        window.load(rows, now_ns - age_ns)
        return window
    if rows.kind == "COUNT":
        ring = CountWindow(rows.size)
        for _, _, failed, slow, _ in rows.content:
            ring.record(now_ns, bool(failed), bool(slow))
        return ring
    return EmptyWindow()


class EmptyWindow:
    """A window for states in which nothing is measured. It is always empty."""

    def record(self, now_ns: int, failed: bool, slow: bool) -> None:
        return

    def counts(self, now_ns: int) -> Counts:
        return Counts()

    def expiries(self, after_ns: int, until_ns: int) -> list[int]:
        return []

    def rows(self, now_ns: int) -> Rows:
        return Rows()


class CountWindow:
    """A window of the last `size` results. No result leaves it because of its age."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._ring: deque[tuple[bool, bool]] = deque()
        self._counts = Counts()

    def record(self, now_ns: int, failed: bool, slow: bool) -> None:
        if len(self._ring) == self._size:
            self._counts.add(*self._ring.popleft(), by=-1)
        self._ring.append((failed, slow))
        self._counts.add(failed, slow)

    def counts(self, now_ns: int) -> Counts:
        return self._counts

    def expiries(self, after_ns: int, until_ns: int) -> list[int]:
        return []

    def rows(self, now_ns: int) -> Rows:
        content = tuple((0, 1, int(failed), int(slow), int(failed and slow)) for failed, slow in self._ring)
        return Rows("COUNT", self._size, content)


class TimeWindow:
    """A window of the last `size` whole seconds, with one bucket for each. The present second is among these.

    A result belongs to the second in which its call ended. If the clock goes back, the window stays at its last second.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._buckets: deque[tuple[int, Counts]] = deque()
        self._counts = Counts()

    def record(self, now_ns: int, failed: bool, slow: bool) -> None:
        second = self._advance(now_ns)
        if not self._buckets or self._buckets[-1][0] != second:
            self._buckets.append((second, Counts()))
        self._buckets[-1][1].add(failed, slow)
        self._counts.add(failed, slow)

    def counts(self, now_ns: int) -> Counts:
        self._advance(now_ns)
        return self._counts

    def expiries(self, after_ns: int, until_ns: int) -> list[int]:
        ends = ((second + self._size) * SECOND_NS for second, _ in self._buckets)
        return [end for end in ends if after_ns < end <= until_ns]

    def rows(self, now_ns: int) -> Rows:
        self._advance(now_ns)
        content = tuple((now_ns - s * SECOND_NS, c.n, c.failed, c.slow, c.slow_failed) for s, c in self._buckets)
        return Rows("TIME", self._size, content)

    def load(self, rows: Rows, now_ns: int) -> None:
        """Fill an empty window with another window's content at `now_ns`.

        The next reading removes results that are too old.
        """
        for age_ns, n, failed, slow, slow_failed in rows.content:
            counts = Counts(n, failed, slow, slow_failed)
            self._buckets.append(((now_ns - age_ns) // SECOND_NS, counts))
            self._counts.subtract(Counts(-n, -failed, -slow, -slow_failed))

    def _advance(self, now_ns: int) -> int:
        second = now_ns // SECOND_NS
        if self._buckets:
            second = max(second, self._buckets[-1][0])
        while self._buckets and self._buckets[0][0] <= second - self._size:
            self._counts.subtract(self._buckets.popleft()[1])
        return second
