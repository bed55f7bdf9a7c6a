"""Ways to wait: for a bell, and for a store that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from dispatcher.errors import UnavailableError


async def rung(bell: asyncio.Event, seconds: float) -> None:
    """Return once `bell` is set or `seconds` have passed. A cancellation always ends the wait.

    Not `wait_for`: before Python 3.12 that one swallows a cancellation which comes together with what it waits for, and
    a loop that is told to stop just when its last work is done would never end.
    """
    waiting = asyncio.ensure_future(bell.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()


async def until_available(step: Callable[[], Awaitable[Any]], chance: Callable[[], float]) -> Any:
    """Repeat `step` until the store answers: a Redis that still loads must not fail a deployment.

    It waits 0.1, 0.2 … 1 s, each half as long or up to half as long again: all new actors wait for the same Redis.
    """
    wait_s = 0.1
    while True:
        try:
            return await step()
        except UnavailableError:
            await asyncio.sleep(wait_s * (0.5 + chance()))
            wait_s = min(1.0, wait_s * 2)
