"""A deadline for reading a body, which counts only time in which this process could read.

If the process's own event loop stalls, the client is not to blame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

SLICE_S = 0.25
LAST_TURNS = 8
"""How often the event loop runs again before the time-out is raised. So data that has already arrived is still read."""


async def read_within(reading: Coroutine[Any, Any, T], deadline_s: float) -> T:
    """Return the result of `reading`. Raises TimeoutError after `deadline_s` seconds.

    The time is counted in slices of `SLICE_S`. If the event loop stalls, the whole stall counts as one slice.
    """
    task = asyncio.ensure_future(reading)
    try:
        for _ in range(max(1, round(deadline_s / SLICE_S))):
            done, _pending = await asyncio.wait({task}, timeout=min(SLICE_S, deadline_s))
            if done:
                return task.result()
        for _ in range(LAST_TURNS):
            await asyncio.sleep(0)
            if task.done():
                return task.result()
        raise asyncio.TimeoutError
    finally:
        task.cancel()
