"""Sliding windows of results: the last N calls, or the last N whole seconds. All operations O(1) amortised.

Four counters cover the content; a slow failure counts in `failed` and in `slow`. Reading or recording moves a time
window on; nothing else does, so a breaker never changes because time passed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

SECOND_NS = 1_000_000_000


@dataclass(slots=True)
class Counts:
    """What a window holds."""

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


class Window(Protocol):
    def record(self, now_ns: int, failed: bool, slow: bool) -> None: ...

    def counts(self, now_ns: int) -> Counts: ...


class EmptyWindow:
    """Of states that measure nothing."""

    def record(self, now_ns: int, failed: bool, slow: bool) -> None:
        return

    def counts(self, now_ns: int) -> Counts:
        return Counts()


class CountWindow:
    """A ring of the last `size` results; nothing ages out."""

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


class TimeWindow:
    """Buckets of one whole second of the clock: at second s the window holds s - size + 1 … s.

    A result goes to the second of its completion. A clock that steps back stays in the last second.
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

    def _advance(self, now_ns: int) -> int:
        second = now_ns // SECOND_NS
        if self._buckets:
            second = max(second, self._buckets[-1][0])
        while self._buckets and self._buckets[0][0] <= second - self._size:
            self._counts.subtract(self._buckets.popleft()[1])
        return second
