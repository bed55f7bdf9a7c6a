"""Keeps a router's knowledge of the cells up to date."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence

from dispatcher.accept.router import Router
from dispatcher.cell_start import join_cells
from dispatcher.errors import ConfigError, UnavailableError
from dispatcher.ports import CellMember, Clock
from dispatcher.telemetry.log import logger

LOOK_S = 1.0
"""The time in seconds between two looks at the cells."""


class MembershipWatch:
    """Checks that each server is the cell that the configuration says, and tells the router what the cells know."""

    def __init__(self, members: Sequence[CellMember], router: Router, clock: Clock) -> None:
        self._members, self._router, self._clock = members, router, clock
        self._joined: set[str] = set()
        self._told = ""

    async def run(self) -> None:
        """Look at the cells each second until cancelled. An outage of a cell does not end this loop.

        Raises ConfigError if a server is not the cell that the configuration says. But if the server answers only after
        other cells have been used, these go on, and the cell of this server is not used.
        """
        while True:
            try:
                await self.look()
            except UnavailableError:
                pass
            except ConfigError as error:
                if not self._router.knows:
                    raise
                self._tell(str(error))
            await self._clock.sleep(LOOK_S if self._router.knows else LOOK_S / 10)

    async def look(self) -> None:
        """Learn the number of cells in force, and let every cell join that has not joined yet."""
        await asyncio.gather(*(self._ask(member) for member in self._members if member.cell in self._joined))
        if len(self._joined) < len(self._members):
            joined = await join_cells(self._members, secrets.token_hex(8))
            for member, membership in zip(self._members, joined, strict=True):
                if membership is not None:
                    self._joined.add(member.cell)
                    self._router.adopt(membership)

    def _tell(self, reason: str) -> None:
        if reason != self._told:
            self._told = reason
            logger().error("cell_refused", reason=reason)

    async def _ask(self, member: CellMember) -> None:
        with contextlib.suppress(UnavailableError):
            membership = (await member.found()).get(member.cell)
            if membership is not None:
                self._router.adopt(membership)
