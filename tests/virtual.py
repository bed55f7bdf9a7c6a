"""Runs coroutines in virtual time, in which an hour takes no time and each run takes the same steps."""

from __future__ import annotations

import asyncio
import functools
import heapq
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")
WALL_MS = 1_700_000_000_000
TICK_S = 1e-6
"""The shortest wait in seconds. Virtual time must grow with each wait, and a shorter one might be lost in rounding."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without a selector. When no task is ready, its time jumps to the next timer."""

    _ready: Any  # the deque of BaseEventLoop

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 1000.0
        self._timers: list[tuple[float, int, asyncio.Handle]] = []
        self._order = count()

    def time(self) -> float:
        return self._now_s

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), handle))
        return handle

    def _run_once(self) -> None:
        if not self._ready:
            self._pass_time()
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if not handle.cancelled():
                self._step(handle)

    def _step(self, handle: Any) -> None:
        handle._run()

    def _pass_time(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        assert timers, "everybody waits for somebody, and no timer is set"
        self._now_s = max(timers[0][0], self._now_s + TICK_S)
        while timers and timers[0][0] <= self._now_s:
            self._ready.append(heapq.heappop(timers)[2])


class VirtualClock:
    """A clock that shows the time of the running virtual loop."""

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def wall_ms(self) -> int:
        return WALL_MS + round(self.now_s() * 1000)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run_virtual(scene: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time and return its result. Tasks that still run at its end are cancelled."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(scene)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def virtual(scene: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Return a test that runs the coroutine function `scene` in virtual time, in which waits take no time."""

    @functools.wraps(scene)
    def test(*args: Any, **kwargs: Any) -> None:
        run_virtual(scene(*args, **kwargs))

    return test


async def until(condition: Callable[[], Any], most_s: float = 60.0) -> None:
    """Let virtual time pass until `condition` holds, at most `most_s` seconds."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + most_s
    while not condition():
        assert loop.time() < end_s, "it never came true"
        await asyncio.sleep(0.01)
