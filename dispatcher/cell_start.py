"""The start check of all cells: each server must be the cell that the configuration says, and new cells join."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from dispatcher.core.cells.membership import ALONE, Membership, check_members, joins
from dispatcher.errors import UnavailableError
from dispatcher.ports import CellMember


async def join_cells(members: Sequence[CellMember], installation: str) -> list[Membership | None]:
    """Check the membership of every cell, and store it where it is missing. Return what each cell knows, in order.

    `members` are all configured cells in order. `installation` is a new random name, which is used if the installation
    begins here. A cell that does not answer gives None, and the caller asks again later. If there is a single cell,
    nothing is written.

    Raises ConfigError if a cell is missing, if a server belongs to another cell or another installation, or if two cells
    have the same server. Raises UnavailableError if no cell with a membership answers and the first cell is away: nobody
    knows then whether the installation exists already.
    """
    servers = await asyncio.gather(*(_found(member) for member in members))
    known = check_members(servers)
    if len(members) == 1 and known is None:
        if servers[0] is None:
            raise UnavailableError("the Redis of cell 0 does not answer")
        return [ALONE]
    if known is None:
        known = await members[0].begin(installation, len(members))
    joined = [await _joined(member, known, found) for member, found in zip(members, servers, strict=True)]
    # Another process may have joined the same cells at the same time, and a server given twice has two names now.
    check_members(await asyncio.gather(*(_found(member) for member in members)))
    return joined


async def _found(member: CellMember) -> Mapping[str, Membership] | None:
    try:
        return await member.found()
    except UnavailableError:
        return None


async def _joined(
    member: CellMember, known: Membership, found: Mapping[str, Membership] | None
) -> Membership | None:
    if found is None:
        return None
    if member.cell in found:
        return found[member.cell]
    try:
        return await member.join(joins(known, member.cell))
    except UnavailableError:
        return None
