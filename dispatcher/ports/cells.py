"""The port to what a cell knows about itself: its name, its installation and the number of cells in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from dispatcher.core.cells.membership import Membership


class CellMember(Protocol):
    """The membership of one cell.

    In every method, UnavailableError means "maybe done", and the call may be repeated.
    """

    @property
    def cell(self) -> str:
        """Return the name of the cell."""
        ...

    async def server(self) -> str:
        """Return a name of the running server. Two cells with the same name have the same server."""
        ...

    async def found(self) -> Mapping[str, Membership]:
        """Return every membership on the server of this cell, by the name of the cell. Nothing is changed.

        A server that was given to the right cell has only that cell's membership, or none.
        """
        ...

    async def begin(self, installation: str, count: int) -> Membership:
        """Begin an installation of `count` cells here, unless this cell has a membership. Return its membership.

        `installation` is a new random name. If the cell has accepted triggers or a supervisor has begun a term in it,
        the installation began with this cell alone, and one cell is in force: processes that know no other cell may
        run.
        """
        ...

    async def join(self, new: Membership) -> Membership:
        """Store the membership `new`, unless this cell has one. Return the membership that the cell has then."""
        ...

    async def raise_to(self, count: int) -> Membership:
        """Put `count` cells in force, as far as this cell is concerned. Return the membership of the cell then.

        If the cell knows of more cells in force, nothing is changed. After this call the cell stores nothing any more
        for a process that knows of fewer cells.
        """
        ...
