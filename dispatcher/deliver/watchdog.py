"""Notices a courier that does nothing although work waits.

Beats come from a separate loop, so without this check a stuck courier would look alive forever.
"""

from __future__ import annotations

import contextlib

from dispatcher.core.plan.progress import Progress
from dispatcher.deliver.courier import Courier
from dispatcher.errors import UnavailableError
from dispatcher.ports import Clock, Control
from dispatcher.telemetry.log import logger


class Watchdog:
    """Watches one courier. `stuck` is empty, or says why its actor must be replaced.

    If outcomes cannot be settled, the watchdog only logs that. A new actor would not know those outcomes, and would
    send the messages again.
    """

    def __init__(self, courier: Courier, control: Control, clock: Clock, patience_s: float) -> None:
        self._courier, self._control, self._clock, self._patience_s = courier, control, clock, patience_s
        self.stuck = ""

    async def run(self) -> None:
        """Check the courier again and again until cancelled, six times in each `patience_s`.

        The courier is stuck if work waits for `patience_s` and none of it begins. Then `stuck` gets a sentence that
        says so. Outcomes that are not settled for `patience_s` are only logged.
        """
        courier, patience_s, vendor = self._courier, self._patience_s, self._courier.vendor.name
        progress, settling, told = Progress(patience_s), Progress(patience_s), False
        while True:
            await self._clock.sleep(patience_s / 6)
            unsettled = settling.look(courier.settled, courier.is_unsettled(), self._clock.now_s())
            if unsettled and not told:
                logger().error("outcomes_unsettled", count=len(courier.outbox), vendor=vendor, seconds=patience_s)
            told = unsettled
            waits = await self._work_waits()
            if progress.look(courier.done, waits and courier.could_work(), self._clock.now_s()) and not self.stuck:
                self.stuck = f"{courier.me}: work waits, and none of it was begun for {patience_s:g} s"
                logger().error("courier_stuck", incarnation=courier.me, vendor=vendor, seconds=patience_s)

    async def _work_waits(self) -> bool:
        courier = self._courier
        if not courier.me or courier.stopping or not courier.could_work():
            return False
        with contextlib.suppress(UnavailableError):
            depths = await self._control.depths()
            return any(depths[box].unclaimed for box in courier.mailboxes() if box in depths)
        return False
