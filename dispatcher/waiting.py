"""Functions that wait: for an event, for the end of tasks, and for a store that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from dispatcher.errors import UnavailableError

CANCEL_AGAIN_S = 0.5
"""A cancelled task that has not ended after this time is cancelled again. Cleaning up takes less."""


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


async def ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and return once each of them has ended. Their results and errors are dropped.

    One cancellation is not enough. Before Python 3.12 `wait_for`, which redis-py calls for each command it sends,
    swallows a cancellation that comes together with its result, and the loop that called it goes on.
    """
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=CANCEL_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # otherwise asyncio logs "never retrieved"


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
