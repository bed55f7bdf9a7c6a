"""The membership of a cell in memory. `dispatcher.ports.cells` is the contract."""

from __future__ import annotations

from collections.abc import Mapping

from dispatcher.adapters.memory.cell import Cell
from dispatcher.core.cells.membership import Membership
from dispatcher.core.cells.names import FIRST_CELL


class MemoryCellMember:
    """The membership of one cell. `server` is its database, which has a membership for each cell that joined there."""

    def __init__(self, server: Cell, cell: str = FIRST_CELL) -> None:
        self._server, self._cell = server, cell

    @property
    def cell(self) -> str:
        return self._cell

    async def server(self) -> str:
        return str(id(self._server))

    async def found(self) -> Mapping[str, Membership]:
        found = self._server.memberships
        return {cell: self._now(cell) for cell, membership in found.items() if membership.installation}

    async def begin(self, installation: str, count: int) -> Membership:
        begins = 1 if self._server.accepted or self._server.term else count
        return await self.join(Membership(installation, self._cell, begins, {begins: 0}))

    async def join(self, new: Membership) -> Membership:
        if self._cell not in self._server.memberships:
            since_ms = {**self._server.since_ms, new.first: 0}
            self._server.memberships[self._cell] = Membership(new.installation, self._cell, new.count, since_ms)
            self._server.since_ms = since_ms
            self._server.raise_to(new.count)
        return self._now(self._cell)

    async def raise_to(self, count: int) -> Membership:
        self._server.raise_to(count)
        return self._now(self._cell)

    def _now(self, cell: str) -> Membership:
        known = self._server.memberships.get(cell)
        return Membership(known.installation if known else "", cell, self._server.count, dict(self._server.since_ms))
