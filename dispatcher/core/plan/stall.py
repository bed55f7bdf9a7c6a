"""Finds stalled delivery: work is ready, its vendor is healthy, and nothing is delivered.

Rules:

1. A vendor is watched only while the plan calls it healthy. The mailboxes that the plan lets it drain are looked at.
   This module does not deal with work for a vendor that is down: breakers and `working_vendors` do.
2. A vendor is stalled if three things hold for `patience_s`: there was ready work at every look, the oldest ready
   notification waited all that time, and the vendor accepted nothing. Work that waits for its next try is not ready.
3. If the contract rate allows less than one call in 15 s, the patience is longer, so that two calls fit into it.
4. The patience starts again when a vendor begins to work, or gets work after it had none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.core.life.backlog import Backlog
from dispatcher.core.plan.progress import Progress
from dispatcher.core.plan.values import CLOSED, Plan

PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Stall:
    """A vendor that is healthy and has work ready, but delivers nothing.

    `waiting` is how many notifications wait for this vendor. `seconds` is for how long the oldest of the ready ones has
    been ready.
    """

    vendor: str
    channel: str
    waiting: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"delivery is stalled: {self.vendor} is healthy and has delivered nothing of {self.waiting} that wait,"
            f" the oldest of them ready for {self.seconds:.0f} s"
        )


class StallWatch:
    """Finds the stalled vendors: those that are healthy and have ready work, but deliver nothing.

    Once a second, the caller tells how much work is ready and how much was delivered.
    """

    def __init__(self, channels: Mapping[str, str], rates_per_s: Mapping[str, float | None]) -> None:
        """Watch these vendors. `channels` gives the channel of each vendor.

        `rates_per_s` gives the contract rate of each vendor, or None for a vendor without one.
        """
        self._channels = channels
        self._patience_s = {name: patience_s(rates_per_s.get(name)) for name in channels}
        self._progress = {name: Progress(self._patience_s[name]) for name in channels}
        self._counted: dict[str, int] = {}
        self._delivered = dict.fromkeys(channels, 0)

    def delivered(self, vendor: str, process: str, count: int) -> None:
        """Note that `process` has reported `count` messages that `vendor` has accepted since the process started.

        Only what exceeds the earlier count of this process is new.
        """
        gained = count - self._counted.get(process, 0)
        self._counted[process] = count
        if vendor in self._delivered and gained > 0:
            self._delivered[vendor] += gained

    def look(self, plan: Plan, backlog: Mapping[str, Backlog], now_s: float) -> list[Stall]:
        """Return the vendors that are healthy, have work and deliver nothing now. `backlog` is the work by mailbox."""
        return [stall for name in self._channels if (stall := self._look(name, plan, backlog, now_s)) is not None]

    def _look(self, name: str, plan: Plan, backlog: Mapping[str, Backlog], now_s: float) -> Stall | None:
        entry = plan.vendors.get(name)
        healthy = not plan.vendors or (entry is not None and entry.state == CLOSED)
        drains = entry.drains if entry is not None else (name,)
        boxes = [backlog[box] for box in drains if box in backlog]
        ready_ms = max((box.ready_ms for box in boxes), default=0)
        stuck = self._progress[name].look(self._delivered[name], healthy and ready_ms > 0, now_s)
        if not stuck or ready_ms < self._patience_s[name] * 1000:
            return None
        return Stall(name, self._channels[name], sum(box.waiting for box in boxes), ready_ms / 1000)


def patience_s(rate_per_s: float | None) -> float:
    """Return after how many seconds without a delivery a healthy vendor with this contract rate counts as stalled."""
    return PATIENCE_S if not rate_per_s else max(PATIENCE_S, 2 / rate_per_s)


def working_vendors(plan: Plan, channels: Mapping[str, str]) -> dict[str, int]:
    """Return how many vendors of each channel get messages by the plan. Before the first plan, every vendor counts."""
    found = dict.fromkeys(channels.values(), 0)
    for name, channel in channels.items():
        entry = plan.vendors.get(name)
        found[channel] += not plan.vendors or (entry is not None and entry.state == CLOSED)
    return found
