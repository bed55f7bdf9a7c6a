"""The incarnations of one courier, one after another.

After an incarnation was declared dead, the courier registers a new one and goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from dispatcher.deliver.courier import Courier
from dispatcher.errors import FencedError, UnavailableError
from dispatcher.ports import Clock, Control
from dispatcher.telemetry.log import logger
from dispatcher.waiting import ended, until_available


class Incarnations:
    """Runs the courier under a live incarnation.

    When an incarnation ends, its calls in flight get `goodbye_s` to finish.
    """

    def __init__(
        self,
        courier: Courier,
        control: Control,
        clock: Clock,
        chance: Callable[[], float],
        *,
        register: Callable[[], Awaitable[str]],
        goodbye_s: float,
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        self._courier, self._control, self._clock, self._chance = courier, control, clock, chance
        self._register, self._goodbye_s, self._begun = register, goodbye_s, begun
        self.stopping = False

    async def run(self) -> None:
        """Let the courier claim until `stopping` is True.

        If an incarnation is no longer live, finish its calls and begin a new one.
        """
        courier = self._courier
        while not self.stopping:
            courier.begin(await until_available(self._register, self._chance))
            logger().info("incarnation_begun", incarnation=courier.me, vendor=courier.vendor.name)
            self._begun()
            watch = asyncio.ensure_future(self._watch_link())
            claims = asyncio.ensure_future(courier.run())
            try:
                await asyncio.wait({watch, claims}, return_when=asyncio.FIRST_COMPLETED)
                courier.stopping = True  # the claim loop ends by itself, as a blocked read must not be cancelled
                with contextlib.suppress(FencedError):
                    await claims
            finally:
                await ended([watch])
            if not self.stopping:
                await self._end()

    async def _end(self) -> None:
        """End the courier's old incarnation: wait for its calls in flight, at most `goodbye_s`, and tell the store that
        it has stopped.

        Other actors take the entries that the old incarnation has not settled. As it was stopped and did not die, they
        do not count these entries as the possible cause of a crash.
        """
        courier, old = self._courier, self._courier.me
        logger().warning("incarnation_ended", incarnation=old, vendor=courier.vendor.name)
        await courier.finish(self._goodbye_s)
        await until_available(lambda: self._control.stopped(old), self._chance)
        courier.stopping = self.stopping

    async def _watch_link(self) -> None:
        """Return when the store says that this incarnation is dead. The call does not return otherwise.

        The store is asked whenever it has not answered for a while. Usually the incarnation is still live: the store
        answered no process during that time, or this process got no CPU time. The courier then goes on working.
        """
        courier = self._courier
        while True:
            await self._clock.sleep(max(0.1, courier.link.stale_in_s()) + 0.1 * self._chance())
            if courier.link.stale():
                asked_s = self._clock.now_s()
                with contextlib.suppress(UnavailableError):
                    if not await self._control.renew(courier.me):
                        return
                    courier.renewed(asked_s)
                    logger().warning("incarnation_renewed", incarnation=courier.me, vendor=courier.vendor.name)
