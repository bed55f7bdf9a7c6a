"""The store's time, continued by the local monotonic clock.

All processes use this time, so machines with different wall clocks agree about expiry.
"""

from __future__ import annotations

from dispatcher.ports import Clock


class StoreTime:
    """The store's wall time in milliseconds. Before the first `sync`, this machine's wall time is used instead."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ms = clock.wall_ms() - clock.now_s() * 1000

    def sync(self, store_ms: int) -> None:
        self._offset_ms = store_ms - self._clock.now_s() * 1000

    def now_ms(self) -> int:
        return int(self._clock.now_s() * 1000 + self._offset_ms)
