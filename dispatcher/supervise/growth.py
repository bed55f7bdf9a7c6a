"""Puts new cells in force as soon as every process knows them (`core.cells`).

A process that knows fewer cells can only answer 503 for the triggers of a new cell, and does not drain it. So the
number of cells in force is raised after the last such process has ended. If a process was overlooked, nothing is stored
in two cells: the scripts of the store refuse its triggers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence

from dispatcher.core.plan.messages import Statement
from dispatcher.core.plan.values import Report
from dispatcher.errors import UnavailableError
from dispatcher.ports import CellMember, Clock, Control
from dispatcher.supervise.override_copy import equal_overrides
from dispatcher.telemetry.log import logger

LOOK_S = 1.0
"""The time in seconds between two looks at what the processes know."""

ENDED_PERIODS = 20
"""The number of missing reports after which a process counts as ended. By default this takes 10 s.

For the same time the supervisor must have heard reports without a gap. So it has heard every process.
"""

GAP_PERIODS = 4
"""The number of periods without any report after which some process's reports may have been missed."""

IN_OFFICE_S = 5.0
"""The time in seconds in office after which all actors use this supervisor's plan, so they share the contract rates."""


class KnownCells:
    """How many cells each process knows, as its reports tell."""

    def __init__(self, pools: Collection[str], period_s: float) -> None:
        """Prepare. `pools` are those that must have a process, and a process reports every `period_s` seconds."""
        self._pools, self._period_s = frozenset(pools), period_s
        self._heard: dict[str, tuple[str, int, float]] = {}  # process → its pool, cells told last, when
        self._since_s = self._last_s = float("-inf")  # the first and the last report without a gap

    def hear(self, told: Report | Statement, now_s: float) -> None:
        """Note how many cells the process that sent this report knows."""
        if now_s - self._last_s > GAP_PERIODS * self._period_s:
            self._since_s = now_s
        self._last_s = now_s
        pool = told.vendor if isinstance(told, Report) else "intake"
        self._heard[told.process] = pool, told.cells, now_s

    def count(self, now_s: float) -> int:
        """Return the number of cells that every process knows.

        Return 0 if this is not certain: a pool has no process, or reports were not heard for long enough.
        """
        ended_s = ENDED_PERIODS * self._period_s
        self._heard = {name: told for name, told in self._heard.items() if now_s - told[2] < ended_s}
        if now_s - self._last_s > GAP_PERIODS * self._period_s or now_s - self._since_s < ended_s:
            return 0
        if self._pools - {pool for pool, _, _ in self._heard.values()}:
            return 0
        return min((cells for _, cells, _ in self._heard.values()), default=0)


class Growth:
    """Raises the number of cells in force to the number of configured cells."""

    def __init__(
        self,
        cells: Sequence[tuple[CellMember, Control]],
        known: KnownCells,
        clock: Clock,
        in_office_s: Callable[[], float],
    ) -> None:
        """Prepare. `cells` are all configured cells in order.

        `in_office_s` returns for how many seconds the first cell's supervisor in this process has been in office.
        Another supervisor in office may know fewer cells, and would not share the contract rates with the new cell.
        """
        self._cells, self._known, self._clock, self._in_office_s = cells, known, clock, in_office_s
        self._complete = False  # all configured cells are in force

    def hear(self, told: Report | Statement) -> None:
        """Note what a process has reported to the first cell."""
        self._known.hear(told, self._clock.now_s())

    async def run(self) -> None:
        """Look each second whether the number can be raised, until cancelled. An outage does not end this loop."""
        while True:
            await self._clock.sleep(LOOK_S)
            with contextlib.suppress(UnavailableError):
                await self.look()

    async def look(self) -> None:
        """Put all configured cells in force if every process knows them and every cell has joined.

        Raises UnavailableError if a cell does not answer. Then nothing is changed, or the call is completed later.
        """
        count = len(self._cells)
        if self._complete or self._in_office_s() < IN_OFFICE_S or self._known.count(self._clock.now_s()) < count:
            return
        found = await asyncio.gather(*(member.found() for member, _ in self._cells))
        joined = [told.get(member.cell) for told, (member, _) in zip(found, self._cells, strict=True)]
        in_force = max((membership.count for membership in joined if membership is not None), default=0)
        if None in joined:
            return  # the intake replicas let the cell join
        if in_force < count:
            (first, overrides), *_ = self._cells
            for _, control in self._cells[in_force:]:
                await equal_overrides(overrides, control)
            await first.raise_to(count)
            logger().info("cells_in_force", count=count, known=in_force)
        self._complete = True
