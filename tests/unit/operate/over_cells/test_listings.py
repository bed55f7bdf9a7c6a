"""Listings over several cells have each item exactly once, and leave out a cell that is away."""

from __future__ import annotations

import pytest

from dispatcher.core.life.listing import LISTED, ListingFilter
from dispatcher.errors import CallerError, UnavailableError
from dispatcher.operate.listings import Listings
from dispatcher.operate.over_cells.listings import ListingsOverCells
from dispatcher.operate.over_cells.missing_cells import collected
from tests.unit.operate.over_cells.two_cells import SeveralCells
from tests.virtual import virtual

QUEUED = LISTED["queued"]


async def pages(listings: Listings | ListingsOverCells, limit: int) -> list[list[str]]:
    """Read a listing to its end, and return the ids of each page."""
    found: list[list[str]] = []
    cursor: str | None = None
    while cursor is not None or not found:
        rows, cursor = await listings.listing(ListingFilter(QUEUED, limit=limit), cursor)
        found.append([row.id for row in rows])
    return found


@virtual
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 10, 100])
async def test_every_item_is_on_one_page(limit: int) -> None:
    """Three cells have five, no and seven queued notifications. With any size of page, each is listed exactly once."""
    several = SeveralCells("012")
    ids = await several["0"].accept(5) + await several["2"].accept(7)
    found = await pages(ListingsOverCells(several.parts(lambda cell: cell.listings())), limit)
    assert [nid for page in found for nid in page] == ids
    assert all(len(page) == limit for page in found[:-2])


@virtual
async def test_items_that_come_and_go_do_not_move_the_others() -> None:
    """Between two pages, listed items go and new ones come in both cells. Each item that stays is listed once."""
    several = SeveralCells()
    stay = await several["0"].accept(4) + await several["1"].accept(4)
    listings = ListingsOverCells(several.parts(lambda cell: cell.listings()))
    found: list[str] = []
    cursor: str | None = None
    for turn in range(20):
        rows, cursor = await listings.listing(ListingFilter(QUEUED, limit=2), cursor)
        found += [row.id for row in rows]
        gone = [row.id for row in rows if row.id in stay][:1] if turn % 2 else []
        for nid in gone:
            await several[nid[0]].store.withdraw(nid, "cancelled", "cancelled")
        await several[str(turn % 2)].accept()
        if cursor is None or len(found) > 40:
            break
    assert [found.count(nid) for nid in stay] == [1] * 8
    assert len(found) == len(set(found))


@virtual
@pytest.mark.parametrize("known", [True, False])
async def test_a_cell_that_is_away_is_left_out_and_named(known: bool) -> None:
    """One of three cells does not answer, whether that is already known or not. The list has the items of the others,
    and the missing cell is noted.
    """
    several = SeveralCells("012")
    ids = await several["0"].accept(3) + await several["2"].accept(3)
    await several["1"].accept(3)
    several["1"].silence()
    several.known_away = {"1"} if known else set()
    with collected() as missing:
        found = await pages(ListingsOverCells(several.parts(lambda cell: cell.listings())), 2)
    assert ([nid for page in found for nid in page], missing) == (ids, {"1"})


@virtual
async def test_if_all_cells_are_away_the_list_is_not_empty_but_unavailable() -> None:
    several = SeveralCells()
    for name in "01":
        several[name].silence()
    with pytest.raises(UnavailableError, match="no cell answers"):
        await pages(ListingsOverCells(several.parts(lambda cell: cell.listings())), 2)


@virtual
async def test_a_call_looks_at_a_limited_number_of_cells() -> None:
    """Only the last of ten cells has an item. The first call looks at four cells, and its cursor leads on."""
    several = SeveralCells("0123456789")
    ids = await several["9"].accept(1)
    found = await pages(ListingsOverCells(several.parts(lambda cell: cell.listings())), 5)
    assert found == [[], [], ids]


@virtual
async def test_a_cursor_from_the_time_of_one_cell_goes_on_in_the_first() -> None:
    """A listing began with one cell, and goes on after a second was added."""
    several = SeveralCells()
    ids = await several["0"].accept(4) + await several["1"].accept(1)
    rows, cursor = await several["0"].listings().listing(ListingFilter(QUEUED, limit=2), None)
    listings = ListingsOverCells(several.parts(lambda cell: cell.listings()))
    more, end = await listings.listing(ListingFilter(QUEUED, limit=10), cursor)
    assert ([row.id for row in [*rows, *more]], end) == (ids, None)


@virtual
@pytest.mark.parametrize("cursor", ["7~", "0~x", "x", "", "~", "00~"])
async def test_a_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    several = SeveralCells()
    with pytest.raises(CallerError, match="an earlier answer") as error:
        listings = ListingsOverCells(several.parts(lambda cell: cell.listings()))
        await listings.listing(ListingFilter(QUEUED), cursor)
    assert error.value.field == "cursor"
