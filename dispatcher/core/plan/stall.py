"""Finds stalled delivery: work is ready, its vendor is healthy, and nothing is delivered.

Rules:

1. A vendor is watched by the mailboxes that the plan lets it drain, and only while the plan says that it is healthy.
   Work that waits for a vendor which is down concerns the breakers, and `working_vendors`.
2. A vendor is stalled if for `patience_s` there was ready work at every look, the oldest of it waited for so long, and
   the vendor accepted nothing. Work that waits for its next try is not ready.
3. Patience is longer for a contract rate below a call in fifteen seconds: two calls must fit into it.
4. A vendor that begins to work, or gets work after it had none, starts with the whole patience.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.core.life.notification import Backlog
from dispatcher.core.plan.progress import Progress
from dispatcher.core.plan.values import CLOSED, Plan

PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Stall:
    """A healthy vendor that delivers nothing of what is ready for it."""

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
    """Finds the stalled vendors. It is told once a second what is ready and what was delivered."""

    def __init__(self, channels: Mapping[str, str], rates_per_s: Mapping[str, float | None]) -> None:
        """`channels` gives the channel of each vendor, and `rates_per_s` its contract rate, None without one."""
        self._channels = channels
        self._patience_s = {name: patience_s(rates_per_s.get(name)) for name in channels}
        self._progress = {name: Progress(self._patience_s[name]) for name in channels}
        self._counted: dict[str, int] = {}
        self._delivered = dict.fromkeys(channels, 0)

    def delivered(self, vendor: str, process: str, count: int) -> None:
        """Note how many messages `vendor` has accepted from `process` since that process started."""
        gained = count - self._counted.get(process, 0)
        self._counted[process] = count
        if vendor in self._delivered and gained > 0:
            self._delivered[vendor] += gained

    def look(self, plan: Plan, backlog: Mapping[str, Backlog], now_s: float) -> list[Stall]:
        """Return the vendors that are stalled now."""
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
    """Return for how many seconds a healthy vendor may deliver nothing, by its contract rate."""
    return PATIENCE_S if not rate_per_s else max(PATIENCE_S, 2 / rate_per_s)


def working_vendors(plan: Plan, channels: Mapping[str, str]) -> dict[str, int]:
    """Return how many vendors of each channel get messages by the plan. Before the first plan all are presumed to."""
    found = dict.fromkeys(channels.values(), 0)
    for name, channel in channels.items():
        entry = plan.vendors.get(name)
        found[channel] += not plan.vendors or (entry is not None and entry.state == CLOSED)
    return found
