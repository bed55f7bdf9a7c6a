"""The names of cells. A cell is named by one character, which is the first character of the ids of its triggers."""

from __future__ import annotations

CELL_NAMES = "0123456789abcdef"
"""The names of all possible cells, in the order in which cells are added."""

FIRST_CELL = CELL_NAMES[0]


def cell_of(id_: str) -> str | None:
    """Return the name of the cell that a trigger or notification belongs to, or None if `id_` names no cell.

    The cell may be one that the installation does not have.
    """
    name, dash, _ = id_.partition("-")
    return name if dash and len(name) == 1 and name in CELL_NAMES else None
