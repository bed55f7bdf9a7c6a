"""Keeps a process on the plan in force, for vendor actors and for intake."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

from dispatcher.core.life.retry import relisten_s
from dispatcher.core.plan.messages import Message
from dispatcher.core.plan.values import Plan
from dispatcher.errors import UnavailableError
from dispatcher.ports import Clock, Control

READ_AGAIN_S = 2.0
"""The period in seconds in which the stored plan is read, because a published plan can get lost on its way."""

CATCH_UP_S, CATCH_UP_PERIOD_S = 3.0, 0.2
"""How long `PlanFollower.catch_up` reads the stored plan, and in which period, in seconds."""


class PlanFollower:
    """Receives published plans. Reads the stored plan at the start, when the subscription begins and every two seconds.

    An outage of the store does not end the loop. For each plan the follower calls `adopt(plan, asked_with)`, which
    decides whether the plan replaces the current one (`Plan.replaces`). `asked_with` is the plan that was current when
    the stored plan was asked for, or None for a published plan. Messages of the kinds `others` are passed to `hear`.
    """

    def __init__(
        self,
        control: Control,
        clock: Clock,
        chance: Callable[[], float],
        *,
        current: Callable[[], Plan],
        adopt: Callable[[Plan, Plan | None], None],
        others: tuple[str, ...] = (),
        hear: Callable[[Message], None] = lambda message: None,
    ) -> None:
        self._control, self._clock, self._chance = control, clock, chance
        self._current, self._adopt = current, adopt
        self._kinds, self._hear = ("plan", *others), hear

    async def run(self) -> None:
        """Follow the plan until cancelled."""
        while True:
            with contextlib.suppress(UnavailableError):
                await self._listen()
            await self._clock.sleep(relisten_s(self._chance()))

    async def _listen(self) -> None:
        await self.read()
        read_s = -math.inf  # so the first message, which says that the subscription has begun, is followed by a read
        async with contextlib.aclosing(self._control.listen(self._kinds)) as messages:
            async for message in messages:
                if isinstance(message, Plan):
                    self._adopt(message, None)
                elif message is not None:
                    self._hear(message)
                if self._clock.now_s() - read_s > READ_AGAIN_S:
                    read_s = self._clock.now_s()
                    await self.read()

    async def catch_up(self) -> None:
        """Read the stored plan again and again for `CATCH_UP_S` seconds.

        A process that was cut off from the store comes back to its work this way. The other processes hear at once that
        a plan gives the process its work again. The process itself might hear so two seconds later, because it has to
        subscribe again, or because TCP waits longer and longer before it repeats a lost packet.
        """
        until_s = self._clock.now_s() + CATCH_UP_S
        while self._clock.now_s() < until_s:
            await self._clock.sleep(CATCH_UP_PERIOD_S)
            with contextlib.suppress(UnavailableError):
                await self.read()

    async def read(self) -> None:
        """Read the stored plan once. Raises UnavailableError."""
        asked_with = self._current()
        plan = await self._control.plan()
        if plan is not None:
            self._adopt(plan, asked_with)
