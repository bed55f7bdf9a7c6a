"""Gives a new cell the operators' overrides of the first cell."""

from __future__ import annotations

from dispatcher.ports import Control


async def copy_overrides(first: Control, new: Control) -> None:
    """Store the overrides of the first cell in a cell that has never had a plan. Raises UnavailableError.

    Call this before the new cell's first plan. Otherwise messages would go to a vendor that an operator has closed. A
    cell that has a plan is not changed: later overrides are written to all cells.
    """
    if await new.plan() is None:
        for vendor, override in (await first.overrides()).items():
            await new.set_override(vendor, override)


async def equal_overrides(first: Control, new: Control) -> None:
    """Make the overrides of a new cell equal to those of the first cell. Raises UnavailableError.

    Call this before the new cell is in force. A process that did not know the new cell has stored and removed overrides
    only in the others.
    """
    before = None
    while before != (wanted := await first.overrides()):  # again if an operator has changed an override meanwhile
        before, found = wanted, await new.overrides()
        for vendor in found.keys() | wanted.keys():
            if found.get(vendor) != wanted.get(vendor):
                await new.set_override(vendor, wanted.get(vendor))
