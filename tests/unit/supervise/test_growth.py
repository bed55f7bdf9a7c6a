"""A new cell is put in force only when every process that reports knows it."""

from __future__ import annotations

import asyncio
from typing import Any

from dispatcher.adapters.memory.cells import MemoryCellMember
from dispatcher.core.cells.membership import Membership
from dispatcher.core.plan.messages import Statement
from dispatcher.core.plan.values import Override, Report
from dispatcher.errors import UnavailableError
from dispatcher.supervise.growth import ENDED_PERIODS, Growth, KnownCells
from tests.unit.stage import Stage
from tests.virtual import virtual

PERIOD_S = 0.5
ENDED_S = ENDED_PERIODS * PERIOD_S


class Processes:
    """The processes that report every `PERIOD_S` seconds, each with the number of cells that it knows."""

    def __init__(self, **cells: int) -> None:
        self.cells = cells
        self.known = KnownCells({"intake", "a"}, PERIOD_S)
        self.now_s = 100.0

    def report(self, seconds: float = ENDED_S + PERIOD_S) -> int:
        """Let time pass, in which all processes report. Return how many cells all of them know."""
        for _ in range(round(seconds / PERIOD_S)):
            for name, cells in self.cells.items():
                self.known.hear(told_by(name, cells), self.now_s)
            self.now_s += PERIOD_S
        return self.known.count(self.now_s - PERIOD_S)


def told_by(name: str, cells: int) -> Report | Statement:
    if name.startswith("intake"):
        return Statement(name, cells=cells)
    return Report(f"{name}/1", "a", "closed", process=name, cells=cells)


def test_the_process_that_knows_least_decides() -> None:
    assert Processes(intake_1=2, intake_2=2, a_1=2).report() == 2
    assert Processes(intake_1=2, intake_2=1, a_1=2).report() == 1
    assert Processes(intake_1=2, a_1=2, a_2=1).report() == 1


def test_a_process_that_has_ended_no_longer_counts() -> None:
    """A process counts until it has not reported for `ENDED_S` seconds."""
    there = Processes(intake_1=1, intake_2=2, a_1=2)
    there.report()
    del there.cells["intake_1"]
    assert there.report(ENDED_S - PERIOD_S) == 1
    assert there.report(2 * PERIOD_S) == 2


def test_nothing_is_certain_before_every_process_can_have_reported() -> None:
    """Reports must be heard for `ENDED_S` without a gap, and a gap begins this time again."""
    there = Processes(intake_1=2, a_1=2)
    assert there.report(ENDED_S) == 0
    assert there.report(2 * PERIOD_S) == 2
    there.now_s += 5 * PERIOD_S
    assert there.known.count(there.now_s) == 0
    assert there.report(PERIOD_S) == there.report(ENDED_S - PERIOD_S) == 0
    assert there.report(2 * PERIOD_S) == 2


def test_each_pool_must_have_a_process() -> None:
    """A vendor has no actor, so nobody would drain its mailbox in the new cell. The same holds without intake."""
    assert Processes(intake_1=2).report() == 0
    assert Processes(a_1=2).report() == 0


def test_a_process_counts_with_what_it_told_last() -> None:
    """An intake replica that starts cannot accept in the new cell before it has read the templates there."""
    there = Processes(intake_1=1, a_1=2)
    assert there.report() == 1
    there.cells["intake_1"] = 2
    assert there.report(PERIOD_S) == 2
    there.cells["intake_1"] = 1
    assert there.report(PERIOD_S) == 1


class Cells:
    """Two cells, of which the first is in force, and the loop that puts the other in force."""

    def __init__(self) -> None:
        self.stages = [Stage(), Stage()]
        self.office_s = 60.0
        self.known = 2
        self.members: list[Any] = [MemoryCellMember(it.cell, str(n)) for n, it in enumerate(self.stages)]
        cells = [(member, stage.control) for member, stage in zip(self.members, self.stages, strict=True)]
        self.growth = Growth(cells, self, self.stages[0].clock, lambda: self.office_s)  # type: ignore[arg-type]

    def count(self, now_s: float) -> int:
        return self.known

    async def join(self, *cells: int) -> None:
        for n in cells:
            await self.members[n].join(Membership("one", str(n), 1, {1: 0}))

    @property
    def in_force(self) -> int:
        return self.stages[0].cell.count


@virtual
async def test_a_new_cell_is_put_in_force_when_all_know_it() -> None:
    """The number is raised in the first cell, after every process knows the new cell and the cell has joined. The
    supervisor must be in office for a while, so that no other supervisor gives away the whole contract rate.
    """
    cells = Cells()
    await cells.join(0)
    for known, office_s, joins in ((2, 60.0, ()), (1, 60.0, (1,)), (2, 0.0, ()), (2, 4.0, ())):
        cells.known, cells.office_s = known, office_s
        await cells.join(*joins)
        await cells.growth.look()
        assert cells.in_force == 1
    cells.office_s = 6.0
    await cells.growth.look()
    assert cells.in_force == 2


@virtual
async def test_overrides_of_the_first_cell_are_in_the_new_one_before_it_is_in_force() -> None:
    """A process that did not know the new cell has changed overrides in the first cell only."""
    cells = Cells()
    await cells.join(0, 1)
    first, new = (stage.control for stage in cells.stages)
    closed = Override("a", "open", why="contract ended")
    await first.set_override("a", closed)
    await new.set_override("b", Override("b", "open", why="taken back in the first cell"))
    await cells.growth.look()
    assert cells.in_force == 2
    assert await new.overrides() == {"a": closed}


@virtual
async def test_an_outage_does_not_end_the_loop() -> None:
    """The new cell is away, and is put in force when it is back. Afterwards the cells are not asked again."""
    cells = Cells()
    await cells.join(0, 1)
    found, asked = cells.members[1].found, list[bool]()

    async def away() -> Any:
        asked.append(len(asked) < 3)
        if asked[-1]:
            raise UnavailableError("away")
        return await found()

    cells.members[1].found = away
    loop = cells.stages[0].start(cells.growth.run())
    await asyncio.sleep(3.5)
    assert cells.in_force == 1 and len(asked) == 3
    await asyncio.sleep(10.0)
    assert cells.in_force == 2 and len(asked) == 4 and not loop.done()
