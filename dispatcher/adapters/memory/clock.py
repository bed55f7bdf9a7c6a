"""A clock that stands still until it is told to move."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

TURNS = 25
"""Loop turns given to whoever was woken before time moves on: enough for a chain of awaits, without any waiting."""


class ManualClock:
    """Time moves by `advance` only, from sleeper to sleeper in due order; the same calls give the same run."""

    def __init__(self, now_s: float = 1000.0, wall_ms: int = 1_700_000_000_000) -> None:
        self._now_s = now_s
        self._offset_ms = wall_ms - now_s * 1000
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def now_s(self) -> float:
        return self._now_s

    def wall_ms(self) -> int:
        return round(self._now_s * 1000 + self._offset_ms)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass. Whoever wakes on the way runs at its own time, and may sleep again within it."""
        until_s = self._now_s + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= until_s:
            at_s, _, future = heapq.heappop(self._sleepers)
            if future.done():
                continue
            self._now_s = max(self._now_s, at_s)
            future.set_result(None)
            await self._settle()
        self._now_s = until_s

    async def _settle(self) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)
