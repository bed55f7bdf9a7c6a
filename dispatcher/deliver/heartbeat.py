"""The beats of a vendor actor. The supervisor declares an actor dead if its beats do not come."""

from __future__ import annotations

import contextlib

from dispatcher.core.plan.identity import Identity
from dispatcher.core.plan.values import Beat
from dispatcher.deliver.courier import Courier
from dispatcher.errors import UnavailableError
from dispatcher.ports import Clock, Control


class Heartbeat:
    """Publishes beats in the name of the courier's incarnation.

    `identity` names the replica, the process and the node.
    """

    def __init__(self, courier: Courier, control: Control, clock: Clock, identity: Identity) -> None:
        self._courier, self._control, self._clock = courier, control, clock
        self._place = (identity.get("replica", ""), identity.get("pid", 0), identity.get("node", ""))

    async def run(self, period_s: float) -> None:
        """Publish a beat each `period_s` seconds until cancelled.

        If the store does not answer, the next beat replaces the lost one.
        """
        while True:
            if self._courier.me:
                with contextlib.suppress(UnavailableError):
                    await self._control.beat(Beat(self._courier.me, self._courier.vendor.name, *self._place))
                    self._courier.link.replied()
            await self._clock.sleep(period_s)
