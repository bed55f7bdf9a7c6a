"""Functions that wait for an event, for the end of tasks, or for a store that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from dispatcher.errors import UnavailableError

CANCEL_AGAIN_S = 0.5
"""The time in seconds after which a task that was cancelled and has not ended is cancelled again.

Cleaning up takes less time than this.
"""


async def rung(bell: asyncio.Event, seconds: float) -> None:
    """Return once `bell` is set or `seconds` have passed. A cancellation always ends the wait.

    This function exists because `asyncio.wait_for` can lose a cancellation. Before Python 3.12 `asyncio.wait_for`
    ignores a cancellation that comes together with its result. So a loop that is told to stop just when its last work
    is done would never end.
    """
    waiting = asyncio.ensure_future(bell.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()


async def ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and return once each of them has ended. Their results and errors are dropped.

    One cancellation is not enough. Before Python 3.12 `asyncio.wait_for` ignores a cancellation that comes together
    with its result. redis-py calls `asyncio.wait_for` for each command, so a loop in a task may go on after it was
    cancelled.
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
    """Repeat `step` until it no longer raises UnavailableError, and return its result.

    A Redis that still loads its data must not make a deployment fail. The waits are 0.1, 0.2, 0.4, 0.8 and then 1 s.
    Each varies by up to a half, by `chance`, because all new actors wait for the same Redis.
    """
    wait_s = 0.1
    while True:
        try:
            return await step()
        except UnavailableError:
            await asyncio.sleep(wait_s * (0.5 + chance()))
            wait_s = min(1.0, wait_s * 2)
