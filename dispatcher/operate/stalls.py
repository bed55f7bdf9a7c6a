"""Logs each vendor that is healthy and delivers nothing. The rules are in `core.plan.stall`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dispatcher.core.life.backlog import Backlog
from dispatcher.core.plan.stall import Stall, StallWatch
from dispatcher.core.plan.values import Plan
from dispatcher.operate.fleet import Fleet
from dispatcher.ports import Clock
from dispatcher.telemetry.log import logger


class Stalls:
    """Keeps the list `now` of the stalled vendors, which have ready work and deliver nothing.

    Each stall is logged when it begins and when it ends.
    """

    def __init__(self, watch: StallWatch, fleet: Fleet, plan: Callable[[], Plan], clock: Clock) -> None:
        self._watch, self._fleet, self._plan, self._clock = watch, fleet, plan, clock
        self.now: list[Stall] = []

    def look(self, backlog: Mapping[str, Backlog]) -> None:
        """Find the stalled vendors, given a new reading of the backlog. The caller calls this once a second."""
        for heard in self._fleet.heard():
            self._watch.delivered(heard.report.vendor, heard.report.incarnation, heard.accepted)
        before, self.now = self.now, self._watch.look(self._plan(), backlog, self._clock.now_s())
        for stall in self.now:
            if all(known.vendor != stall.vendor for known in before):
                logger().error("delivery_stalled", vendor=stall.vendor, count=stall.waiting, seconds=stall.seconds)
        for name in {stall.vendor for stall in before} - {stall.vendor for stall in self.now}:
            logger().warning("delivery_resumed", vendor=name)

    def seconds(self, vendor: str) -> float:
        """Return for how many seconds the delivery by a vendor has been stalled, or 0 if it is not stalled."""
        return max((stall.seconds for stall in self.now if stall.vendor == vendor), default=0)
