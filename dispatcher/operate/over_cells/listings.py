"""Lists notifications by state over several cells, one cell after the other."""

from __future__ import annotations

from dataclasses import replace

from dispatcher.core.life.listing import ListingFilter, Placed
from dispatcher.operate.listings import Listings
from dispatcher.operate.over_cells.cells import Cells
from dispatcher.operate.over_cells.paging import Visit, walk


class ListingsOverCells:
    """Lists the notifications in a place, page by page. The method is that of `Listings`."""

    def __init__(self, cells: Cells[Listings]) -> None:
        self._cells = cells

    async def listing(self, wanted: ListingFilter, cursor: str | None) -> tuple[list[Placed], str | None]:
        """Return the next notifications that match, and the cursor with which the next call continues.

        There are at most `wanted.limit` notifications. The cursor is None at the end of the listing. A page may have
        few rows or none and still have a cursor. Raises CallerError if the cursor is not from an earlier answer. Raises
        UnavailableError if all cells are away; a single cell is left out.
        """
        rows: list[Placed] = []

        async def visit(_: str, part: Listings, left: int, inner: str | None) -> Visit:
            found, going_on = await part.listing(replace(wanted, limit=left), inner)
            rows.extend(found)
            return Visit(len(found), going_on)

        going_on = await walk(self._cells, list(self._cells), cursor, wanted.limit, visit=visit)
        return rows, going_on
