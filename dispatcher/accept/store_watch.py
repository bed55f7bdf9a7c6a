"""Watches the store for an intake replica: its free memory, its clock, and whether it lost acknowledged triggers."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping

from dispatcher.accept.intake import Headroom, Intake
from dispatcher.core.life.backlog import Backlog, MailboxDepth
from dispatcher.core.life.choices import PRIORITIES
from dispatcher.core.life.notification import Lane
from dispatcher.core.limits.lanes import crowding, full_lanes
from dispatcher.core.store.continuity import Break, Continuity, Undone
from dispatcher.errors import UnavailableError
from dispatcher.ports import Clock, Control, Vitals
from dispatcher.telemetry.log import logger
from dispatcher.telemetry.metrics import Metrics

LOOK_S = 1.0
LINEAGE_S = 0.1
"""How often, in seconds, the store is asked for its stream of writes, while it has replicas.

The loss of writes that were made after the last answer cannot be noticed.
"""

SILENT_S = 3.0
"""The time in seconds without an answer after which the store counts as away.

A trigger that is posted then would not become durable.
"""

BREAKS_SHOWN = 5


class StoreBreaks:
    """Reports to operators that the store has lost data: an event in the log, a metric and a warning.

    The store may have lost accepted triggers, or later changes of their notifications. Only an operator can find out
    which triggers are gone. The callers can then send them again with the same keys. If the store lost the outcome of a
    notification, the notification may be sent again. Under `hold` this can happen too, because the store may also have
    lost the mark that a send had begun.
    """

    def __init__(self, metrics: Metrics, clock: Clock, broke: Callable[[], None] = lambda: None) -> None:
        """Prepare to report breaks: signs that the store lost data (`core.store.continuity`). `broke` is called at each
        break.
        """
        self._metrics, self._clock, self._broke = metrics, clock, broke
        self.continuity = Continuity()
        self.warnings: list[str] = []

    def tell(self, found: Break | Undone) -> None:
        self._broke()
        self._metrics.count("dispatcher_store_breaks", found.kind)
        if isinstance(found, Break):
            logger().error("store_broke", kind=found.kind, known=found.known.accepted, life=found.known.life)
            lost = "what was accepted since its copy is lost"
        else:
            logger().error("store_broke", kind=found.kind, known=found.known_to, life=found.stream)
            lost = "what was settled in them may be sent again"
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock.wall_ms() / 1000))
        self.warnings = [*self.warnings[1 - BREAKS_SHOWN :], f"{moment}: {found}; {lost}"]


class StoreWatch:
    """Keeps an intake's knowledge of the store up to date, and looks for breaks of the store's continuity.

    This knowledge is the store's time, and the headroom: how much of the store's memory is used and which lanes are
    full. `looked` is called with every reading of the backlog.
    """

    def __init__(
        self,
        control: Control,
        vitals: Vitals,
        intake: Intake,
        breaks: StoreBreaks,
        *,
        clock: Clock,
        queued_max: int,
        weights: Mapping[str, int],
        looked: Callable[[Mapping[str, Backlog]], None] = lambda backlog: None,
    ) -> None:
        """Prepare to watch.

        `queued_max` is the number of waiting entries at which a lane is full (`core.limits.lanes`). `weights` gives the
        weight of each tenant.
        """
        self._control, self._vitals, self._intake, self._breaks = control, vitals, intake, breaks
        self._clock, self._queued_max, self._weights, self._looked = clock, queued_max, weights, looked
        self._answered_s: float | None = None
        self.log_faults: tuple[str, ...] = ()

    @property
    def answers(self) -> bool:
        """Return True if the store has answered within the last three seconds."""
        return self._answered_s is not None and self._clock.now_s() - self._answered_s <= SILENT_S

    async def run(self) -> None:
        """Look at the store each second until cancelled. An outage of the store does not end this loop."""
        while True:
            with contextlib.suppress(UnavailableError):
                await self._look()
            await self._clock.sleep(LOOK_S)

    async def _look(self) -> None:
        continuity = self._breaks.continuity
        known = continuity.mark
        found = continuity.compare(known, await self._vitals.ledger())
        if found is not None:
            self._breaks.tell(found)
        self._intake.time.sync(await self._vitals.now_ms())
        used, most = await self._vitals.memory()
        before, self.log_faults = self.log_faults, await self._vitals.log_faults()
        for fault in set(self.log_faults) - set(before):
            logger().error("store_log_fails", reason=fault)
        depths = await self._control.depths()
        self._answered_s = self._clock.now_s()
        lanes = frozenset[Lane]().union(
            *(full_lanes(name, depth.queued, self._queued_max) for name, depth in depths.items())
        )
        refused = {lane: who for lane in lanes if (who := await self._crowding(lane, depths)) is not None}
        self._intake.headroom = Headroom(used / most if most else 0.0, lanes, refused)
        self._looked(await self._control.backlog(depths))
        # Set the weights each time: the store may have been emptied, or a replica with an older file may have set them.
        await self._control.weigh(self._weights)

    async def _crowding(self, full: Lane, depths: Mapping[str, MailboxDepth]) -> frozenset[str] | None:
        """Return the tenants whose new triggers intake refuses while the lane `full` is full. None means that intake
        refuses every tenant.

        The entries in the more urgent lanes of the same mailbox count as if they were in this lane.
        """
        waiting, queued = Counter[str](), 0
        for priority in PRIORITIES[: PRIORITIES.index(full.priority) + 1]:
            waiting.update(await self._control.waiting(Lane(full.mailbox, priority)))
            queued += depths[full.mailbox].queued.get(priority, 0)
        return crowding(waiting, queued - waiting.total(), self._queued_max)

    async def follow_lineage(self) -> None:
        """Ask the store for its stream of writes (`Lineage`), and report lost writes, until cancelled.

        Redis names the stream and counts its bytes. After a fail-over this shows whether the new primary lacks writes.
        The store is asked once a second, and more often while it has replicas.
        """
        while True:
            found = None
            with contextlib.suppress(UnavailableError):
                found = await self._vitals.lineage()
                undone = self._breaks.continuity.follow(found) if found is not None else None
                if undone is not None:
                    self._breaks.tell(undone)
            # Without replicas, only a replica that was cut off from its primary a moment ago can be promoted.
            await self._clock.sleep(LINEAGE_S if found is not None and found.replicas else LOOK_S)
