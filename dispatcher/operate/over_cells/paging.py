"""Walks through the cells, one after the other, in calls of limited size."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from dispatcher.errors import CallerError, UnavailableError
from dispatcher.operate.over_cells.cells import Cells
from dispatcher.operate.over_cells.missing_cells import note_missing

Part = TypeVar("Part")

VISITED_MAX = 4
"""How many cells one call looks at. So the time of a call is limited even if no cell has an item that matches."""

_CURSOR = re.compile(r"([0-9a-v])~(.*)", re.DOTALL)


class Place(NamedTuple):
    """Where the next call continues: in which cell, and at which cursor of that cell. None means its beginning."""

    cell: str
    cursor: str | None = None

    def __str__(self) -> str:
        return f"{self.cell}~{self.cursor or ''}"


class Visit(NamedTuple):
    """The result of a visit in one cell: how many items of the limit it used, and the cell's cursor.

    The cursor is None if everything in the cell was visited.
    """

    used: int
    cursor: str | None


async def walk(
    cells: Cells[Part],
    among: Sequence[str],
    cursor: str | None,
    limit: int,
    *,
    visit: Callable[[str, Part, int, str | None], Awaitable[Visit]],
) -> str | None:
    """Visit the cells `among` in their order, from `cursor` on, until `limit` items are found.

    `visit` gets a cell, its part, the number of items that are still wanted, and the cell's cursor. Return the cursor
    with which the next call continues, or None at the end. A cell that is away is noted as missing and left out.

    Raises CallerError if the cursor is not from an earlier answer, and UnavailableError if all cells are away.
    """
    start, order = read_cursor(cells, cursor), list(cells)
    ahead = [cell for cell in among if start is None or order.index(cell) >= order.index(start.cell)]
    answered = cursor is not None
    for index, cell in enumerate(ahead):
        if limit <= 0 or index == VISITED_MAX:
            return str(Place(cell))
        inner = start.cursor if start is not None and start.cell == cell else None
        try:
            cells.check(cell)
            found = await visit(cell, cells[cell], limit, inner)
        except UnavailableError:
            note_missing(cell)
            continue
        answered, limit = True, limit - found.used
        if found.cursor is not None:
            return str(Place(cell, found.cursor))
    if ahead and not answered:
        raise UnavailableError("no cell answers")
    return None


def read_cursor(cells: Cells[Part], text: str | None) -> Place | None:
    """Return the place that a cursor names, or None without a cursor.

    A cursor that names no cell is from a time when the installation had one cell, so it means the first one. Raises
    CallerError if the cursor names a cell that does not exist.
    """
    if text is None:
        return None
    found = _CURSOR.fullmatch(text)
    if found is None:
        return Place(next(iter(cells)), text)
    if found[1] not in cells:
        raise CallerError("cursor", "must be the cursor of an earlier answer")
    return Place(found[1], found[2] or None)
