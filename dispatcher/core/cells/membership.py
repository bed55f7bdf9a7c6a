"""Defines what a cell stores about itself, and checks all cells at a start.

The memberships of an installation's cells agree in the installation's name and in the first generation. They may differ
in the number of cells in force, because each cell learns a new number by itself (`core.cells`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dispatcher.core.cells.names import CELL_NAMES, FIRST_CELL
from dispatcher.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Membership:
    """One cell of an installation, as its own store knows it.

    Attributes:
        installation: the random name of the installation; '' if the store of the only cell has no membership.
        cell: the name of this cell.
        count: the highest number of cells that this cell has seen in force.
        since_ms: number of cells → when this cell saw it in force for the first time, in wall milliseconds of its
            store; 0 for the number with which the installation began.
    """

    installation: str
    cell: str
    count: int
    since_ms: Mapping[int, int]

    @property
    def first(self) -> int:
        """Return the number of cells with which the installation began."""
        return min(self.since_ms, default=1)


ALONE = Membership("", FIRST_CELL, 1, {1: 0})
"""The membership of the only cell. It is not stored."""


def setting_of(index: int) -> str:
    """Return the name of the setting that gives the Redis of the cell at this place."""
    return "--redis-url" if index == 0 else f"store.cells.{index - 1}"


def check_servers(servers: Sequence[str | None]) -> None:
    """Raise ConfigError if two cells have the same server.

    `servers` has the name of each cell's server in the order of the cells, and None for a server that does not answer.
    """
    for index, server in enumerate(servers):
        if server is not None and server in servers[:index]:
            twice = f"cell {CELL_NAMES[index]} has the same Redis server as cell {CELL_NAMES[servers.index(server)]}"
            raise ConfigError(f"{setting_of(index)}: {twice}")


def check_members(servers: Sequence[Mapping[str, Membership] | None]) -> Membership | None:
    """Return what is known of the installation, or None if no server has a membership.

    `servers` has one entry for each configured cell, in order: the memberships that its server has, by the name of the
    cell; None if the server does not answer. In the result, `count` is the highest number of cells in force. Raises
    ConfigError with one sentence that names the cell and its setting.
    """
    known: Membership | None = None
    for index, (cell, found) in enumerate(zip(CELL_NAMES, servers, strict=False)):
        where = setting_of(index)
        for other in (found or {}).keys() - {cell}:
            raise ConfigError(f"{where}: this is the Redis of cell {other}, and it cannot be cell {cell}")
        if found is None or cell not in found:
            continue
        mine = found[cell]
        if known is not None and mine.installation != known.installation:
            raise ConfigError(f"{where}: this Redis belongs to another installation than that of cell {known.cell}")
        if mine.count > len(servers):
            missing = CELL_NAMES[len(servers)]
            fewer = f"cell {missing} is missing: {mine.count} cells are in force, and {len(servers)} are configured"
            raise ConfigError(f"store.cells.{len(servers) - 1}: {fewer}")
        if known is None or mine.count > known.count:
            known = mine
    return known


def joins(known: Membership, cell: str) -> Membership:
    """Return the membership of a cell that joins an installation. `known` is the membership of another cell.

    Nothing is accepted in the new cell before a number of cells that includes it is in force.
    """
    return replace(known, cell=cell, since_ms={known.first: 0})
