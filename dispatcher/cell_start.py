"""The start check of all cells: each server must be the cell that the configuration says, and new cells join."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from dispatcher.core.cells.membership import ALONE, Membership, check_members, check_servers, joins
from dispatcher.errors import UnavailableError
from dispatcher.ports import CellMember

T = TypeVar("T")


async def join_cells(members: Sequence[CellMember], installation: str) -> list[Membership | None]:
    """Check the membership of every cell, and store it where it is missing. Return what each cell knows, in order.

    `members` are all configured cells in order. `installation` is a new random name, which is used if the installation
    begins here. A cell that does not answer gives None, and the caller asks again later. If there is a single cell,
    nothing is written.

    Raises ConfigError if a cell is missing, if a server belongs to another cell or another installation, or if two
    cells have the same server. Raises UnavailableError if cell 0 does not answer and no other cell has a membership:
    nobody knows then whether the installation exists already.
    """
    check_servers(await asyncio.gather(*(_unless_away(member.server()) for member in members)))
    servers = await asyncio.gather(*(_unless_away(member.found()) for member in members))
    known = check_members(servers)
    if len(members) == 1 and known is None:
        if servers[0] is None:
            raise UnavailableError("the Redis of cell 0 does not answer")
        return [ALONE]
    if known is None:
        known = await members[0].begin(installation, len(members))
    joined: list[Membership | None] = []
    for index, member in enumerate(members):  # one after the other: a wrong server is seen before it is written to
        found = servers[index] = await _unless_away(member.found())
        check_members(servers)
        if found is None or member.cell in found:
            joined.append(None if found is None else found[member.cell])
        else:
            joined.append(await _unless_away(member.join(joins(known, member.cell))))
    return joined


async def _unless_away(answer: Awaitable[T]) -> T | None:
    try:
        return await answer
    except UnavailableError:
        return None
