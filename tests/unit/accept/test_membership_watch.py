"""A router learns from the cells how many of them are in force, also after an outage."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from dispatcher.accept.membership_watch import MembershipWatch
from dispatcher.accept.router import Router
from dispatcher.adapters.memory.cells import MemoryCellMember
from dispatcher.errors import ConfigError
from tests.unit.operate.over_cells.two_cells import Silence
from tests.unit.stage import Stage
from tests.virtual import virtual


class Member(Silence):
    """A membership whose server can be away."""

    def __init__(self, stage: Stage, cell: str) -> None:
        super().__init__(MemoryCellMember(stage.cell, cell))
        self.cell = cell


class Watched:
    """Two cells in memory, and the watch that tells a router about them."""

    def __init__(self) -> None:
        self.stages = [Stage(), Stage()]
        self.members = [Member(stage, str(n)) for n, stage in enumerate(self.stages)]
        self.router = Router({}, self.stages[0].metrics, lambda: 0.5)
        self.loop: asyncio.Task[Any] = self.stages[0].start(
            MembershipWatch(self.members, self.router, self.stages[0].clock).run()
        )

    async def known_after(self, seconds: float) -> tuple[bool, int]:
        await asyncio.sleep(seconds)
        assert not self.loop.done()
        return self.router.knows, self.router.count


@virtual
async def test_the_number_in_force_is_learned_within_a_second() -> None:
    watched = Watched()
    watched.stages[0].cell.accepted = 1
    assert await watched.known_after(0.01) == (True, 1)
    watched.stages[0].cell.raise_to(2)
    assert await watched.known_after(1.1) == (True, 2)


@pytest.mark.parametrize("away", [0, 1])
@virtual
async def test_one_cell_that_is_away_does_not_hide_what_the_other_knows(away: int) -> None:
    watched = Watched()
    assert await watched.known_after(0.01) == (True, 2)
    watched.members[away].on = True
    watched.stages[1 - away].cell.raise_to(3)
    assert await watched.known_after(1.1) == (True, 3)


@virtual
async def test_a_cell_that_was_away_joins_when_it_is_back() -> None:
    """Without the first cell nothing is known. A further cell that is away joins later."""
    watched = Watched()
    watched.members[0].on = True
    assert await watched.known_after(3.0) == (False, 1)
    watched.members[0].on, watched.members[1].on = False, True
    assert await watched.known_after(0.2) == (True, 2)
    assert watched.stages[1].cell.memberships == {}
    watched.members[1].on = False
    assert await watched.known_after(1.1) == (True, 2)
    assert list(watched.stages[1].cell.memberships) == ["1"]


@virtual
async def test_the_wrong_server_ends_the_loop() -> None:
    """The server of cell 0 belongs to cell 1. The replica must not accept anything there."""
    stage = Stage()
    await MemoryCellMember(stage.cell, "1").begin("one", 2)
    watch = MembershipWatch([Member(stage, "0"), Member(Stage(), "1")], Router({}, stage.metrics, float), stage.clock)
    with pytest.raises(ConfigError, match="this is the Redis of cell 1"):
        await watch.run()


@virtual
async def test_a_server_that_turns_out_wrong_later_stops_no_other_cell() -> None:
    """The second cell was away, and comes back as a server of another installation. The first goes on, and the reason
    is logged once.
    """
    watched = Watched()
    watched.members[1].on = True
    assert await watched.known_after(0.01) == (True, 2)
    await MemoryCellMember(watched.stages[1].cell, "1").begin("other", 2)
    watched.members[1].on = False
    with capture_logs() as logs:
        await watched.known_after(3.1)
    assert [(line["event"], "another installation" in line["reason"]) for line in logs] == [("cell_refused", True)]
    watched.stages[0].cell.raise_to(3)
    assert await watched.known_after(1.1) == (True, 3)
