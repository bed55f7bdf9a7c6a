"""Simulated processes inside one event loop. Each step of a task belongs to a process.

A process can die or freeze between any two steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

from tests.virtual import VirtualLoop

OWNER: ContextVar[Process | None] = ContextVar("owner", default=None)
FOR_EVER = float("inf")


class SimulatedLoop(VirtualLoop):
    """A virtual event loop that runs a step only if the step's process is alive and not frozen.

    A step without a process belongs to the simulated surroundings and always runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outside = copy_context()
        # Tasks are kept to the end. If Python collected a dead process's task, its `finally` blocks would run.
        self._kept: list[Any] = []

    def create_task(self, coro: Any, **options: Any) -> Any:
        task: Any = super().create_task(coro, **options)
        task._log_destroy_pending = False
        self._kept.append(task)
        return task

    def _run_once(self) -> None:
        ready = self._ready
        if not ready:
            self._pass_time()
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            owner = handle._context.get(OWNER)
            if owner is None or owner.may_run(handle):
                handle._run()

    def abandon(self) -> None:
        """End the simulation. No task runs again."""
        self._ready.clear()
        self._timers.clear()
        self._kept.clear()

    def start_outside(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that belongs to no simulated process, even if a process makes this call. So the task outlives
        every process.
        """
        task: asyncio.Task[Any] = self.outside.copy().run(self.create_task, work)
        return task

    def later_outside(self, delay_s: float, callback: Callable[..., Any], *args: Any) -> asyncio.Handle:
        handle: asyncio.Handle = self.call_later(delay_s, callback, *args, context=self.outside)
        return handle


class Process:
    """A group of tasks that die and freeze together."""

    def __init__(self, loop: SimulatedLoop, name: str) -> None:
        self.loop, self.name = loop, name
        self.dead = self.frozen = False
        self.steps = 0
        self.troubles: list[tuple[float, float]] = []
        """The times (from, to) when the process was killed, frozen or cut off from the store. They may explain a
        repeat.
        """
        self.hidden_until_s = 0.0  # until then it may hold claims that it does not know
        self.on_end: list[Callable[[], object]] = []
        self._parked: list[asyncio.Handle] = []
        self._fate: tuple[int, Callable[[], None]] | None = None
        self._context: Context = copy_context()
        self._context.run(OWNER.set, self)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = self._context.run(self.loop.create_task, work)
        return task

    def may_run(self, handle: asyncio.Handle) -> bool:
        if self.dead:
            return False
        if not self.frozen:
            self.steps += 1
            if self._fate is None or self.steps < self._fate[0]:
                return True
            (_, act), self._fate = self._fate, None
            act()
            if not self.frozen:
                return not self.dead
        self._parked.append(handle)
        return False

    def doom(self, steps: int, act: Callable[[], None]) -> None:
        """Let the process run `steps` more steps. Then call `act` before its next step."""
        self._fate = (self.steps + 1 + steps, act)

    def trouble(self, until_s: float) -> None:
        self.troubles.append((self.loop.time(), until_s))

    def hide(self, until_s: float) -> None:
        self.hidden_until_s = max(self.hidden_until_s, until_s)

    def troubled(self, from_s: float, to_s: float) -> bool:
        return any(begin <= to_s and end >= from_s for begin, end in self.troubles)

    def kill(self) -> None:
        """Kill the process as SIGKILL does. No further step runs, not even of a `finally`."""
        if self.dead:
            return
        self.dead = True
        self.trouble(FOR_EVER)
        for told in self.on_end:
            told()

    def freeze(self, seconds: float) -> None:
        """Freeze the process for `seconds`, as SIGSTOP does. Then the process continues."""
        if not self.dead and not self.frozen:
            self.frozen = True
            self.hide(self.loop.time() + seconds + 0.5)
            self.trouble(self.loop.time() + seconds + 1.0)  # and for a second after, when it acts on old knowledge
            self.loop.later_outside(seconds, self.thaw)

    def thaw(self) -> None:
        self.frozen = False
        parked, self._parked = self._parked, []
        self.loop._ready.extend(parked)
