"""A deadline that counts only the time in which this process could read.

A stall of the process's own loop is not the client's fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

SLICE_S = 0.25
LAST_TURNS = 8
"""Turns of the loop after the last slice: what has come meanwhile lies in the socket and needs a few to be read."""


async def read_within(reading: Coroutine[Any, Any, T], deadline_s: float) -> T:
    """Return what `reading` returns. Raises TimeoutError after `deadline_s`.

    A stall of the loop counts as one slice of that time.
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
