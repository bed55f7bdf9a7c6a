"""Functions that wait: for an event, and for a store that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from dispatcher.errors import UnavailableError


async def rung(bell: asyncio.Event, seconds: float) -> None:
    """Return once `bell` is set or `seconds` have passed. A cancellation always ends the wait.

    `wait_for` does not do: before Python 3.12 it swallows a cancellation that comes together with its result. A loop
    that is told to stop just when its last work is done would never end.
    """
    waiting = asyncio.ensure_future(bell.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()


async def until_available(step: Callable[[], Awaitable[Any]], chance: Callable[[], float]) -> Any:
    """Repeat `step` until the store answers, because a Redis that still loads must not fail a deployment.

    The waits are 0.1, 0.2 … 1 s, each varied by up to a half, because all new actors wait for the same Redis.
    """
    wait_s = 0.1
    while True:
        try:
            return await step()
        except UnavailableError:
            await asyncio.sleep(wait_s * (0.5 + chance()))
            wait_s = min(1.0, wait_s * 2)
