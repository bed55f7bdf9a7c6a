"""The start check of all cells, on databases in memory."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from dispatcher.adapters.memory.cell import Cell
from dispatcher.adapters.memory.cells import MemoryCellMember
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.cell_start import join_cells
from dispatcher.core.cells.membership import ALONE, Membership
from dispatcher.errors import ConfigError, UnavailableError


class Away(MemoryCellMember):
    """A cell whose server does not answer."""

    async def server(self) -> str:
        raise UnavailableError("away")

    async def found(self) -> Mapping[str, Membership]:
        raise UnavailableError("away")

    async def begin(self, installation: str, count: int) -> Membership:
        raise UnavailableError("away")


def servers(count: int) -> list[Cell]:
    return [Cell(SystemClock()) for _ in range(count)]


def members(found: list[Cell]) -> list[MemoryCellMember]:
    return [MemoryCellMember(server, str(index)) for index, server in enumerate(found)]


async def counts(found: list[Cell], names: str = "one") -> list[int | None]:
    return [it and it.count for it in await join_cells(members(found), names)]


async def test_one_cell_writes_nothing() -> None:
    (server,) = found = servers(1)
    assert await join_cells(members(found), "one") == [ALONE]
    assert (server.memberships, server.since_ms, server.count) == ({}, {}, 1)


async def test_an_installation_that_begins_with_three_has_three_in_force() -> None:
    """A second start changes nothing, and the name of the installation stays."""
    found = servers(3)
    first = await join_cells(members(found), "one")
    assert first == [Membership("one", cell, 3, {3: 0}) for cell in "012"]
    assert await join_cells(members(found), "two") == first


async def test_a_cell_that_was_used_alone_began_alone() -> None:
    """The new cell is not in force yet, so nothing is accepted there before everybody knows it."""
    found = servers(2)
    found[0].accepted = 7
    joined = await join_cells(members(found), "one")
    assert [(it.count, it.first) for it in joined if it] == [(1, 1), (1, 1)]


async def test_an_added_cell_waits_until_it_is_in_force() -> None:
    found = servers(3)
    await join_cells(members(found[:2]), "one")
    assert await counts(found) == [2, 2, 2]
    await MemoryCellMember(found[0]).raise_to(3)
    assert await counts(found) == [3, 2, 2]
    with pytest.raises(ConfigError, match=r"^store.cells.1: cell 2 is missing"):
        await join_cells(members(found[:2]), "one")


async def test_cells_in_another_order_are_refused_and_stay_as_they_are() -> None:
    one, two, three = servers(3)
    await join_cells(members([one, two, three]), "one")
    with pytest.raises(ConfigError, match=r"^store.cells.0: this is the Redis of cell 2"):
        await join_cells(members([one, three, two]), "one")
    assert [list(server.memberships) for server in (one, two, three)] == [["0"], ["1"], ["2"]]


async def test_one_server_for_two_cells_is_refused_before_anything_is_written() -> None:
    one, two = servers(2)
    with pytest.raises(ConfigError, match=r"^store.cells.1: cell 2 has the same Redis server as cell 1$"):
        await join_cells(members([one, two, two]), "one")
    assert one.memberships == two.memberships == {}


async def test_a_cell_that_is_away_joins_later() -> None:
    """The cells that answer can work meanwhile."""
    one, two, three = found = servers(3)
    some = [MemoryCellMember(one), Away(two, "1"), MemoryCellMember(three, "2")]
    assert [it and it.cell for it in await join_cells(some, "one")] == ["0", None, "2"]
    assert await counts(found, "two") == [3, 3, 3]
    assert {next(iter(server.memberships.values())).installation for server in found} == {"one"}


async def test_without_the_first_cell_nothing_begins_and_a_known_installation_goes_on() -> None:
    one, two = found = servers(2)
    with pytest.raises(UnavailableError):
        await join_cells([Away(one), MemoryCellMember(two, "1")], "one")
    assert two.memberships == {}
    await join_cells(members(found), "one")
    joined = await join_cells([Away(one), MemoryCellMember(two, "1")], "two")
    assert [it and it.installation for it in joined] == [None, "one"]


async def test_an_emptied_cell_joins_again() -> None:
    found = servers(3)
    await join_cells(members(found), "one")
    found[0] = Cell(SystemClock())
    assert [it and it.installation for it in await join_cells(members(found), "two")] == ["one"] * 3
