"""The clock of the operating system, as the `Clock` port."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    def now_s(self) -> float:
        return time.monotonic()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
