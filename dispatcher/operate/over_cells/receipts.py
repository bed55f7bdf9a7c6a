"""A vendor's receipts over several cells: each goes to the cell that has its notification."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from dispatcher.core.cells.names import cell_of
from dispatcher.core.life.receipt import Told
from dispatcher.errors import CallerError, UnavailableError
from dispatcher.operate.over_cells.cells import Cells
from dispatcher.operate.receipts import Receipts


class ReceiptsOverCells:
    """Applies receipts, each in the cell of its notification. The methods are those of `Receipts`."""

    def __init__(self, cells: Cells[Receipts]) -> None:
        self._cells = cells

    def refused(self) -> Mapping[str, Mapping[str, int]]:
        """Return how many messages were refused by receipts lately in all cells, by vendor and country."""
        total: dict[str, Counter[str]] = {}
        for cell in self._cells:
            for vendor, countries in self._cells[cell].refused().items():
                total.setdefault(vendor, Counter()).update(countries)
        return total

    async def call_back(self, vendor: str, query: Mapping[str, str], body: bytes) -> dict[str, int]:
        """Read one call-back of a vendor and apply its receipts, as `hear` does.

        Raises CallerError (404) for an unknown vendor.
        """
        any_cell = self._cells[next(iter(self._cells))]
        return await self.hear(vendor, any_cell.read(vendor, query, body))

    async def hear(self, vendor: str, told: Sequence[Told]) -> dict[str, int]:
        """Apply the receipts, and return how many had each result. The call may be repeated safely.

        A receipt that names no cell, or has a wrong token, is skipped if there are valid ones.

        Raises:
            CallerError: no receipt names a cell (404), or all have a wrong token (403).
            UnavailableError: a cell is away, or a notification is still being sent. All other receipts are applied.
        """
        by_cell: dict[str | None, list[Told]] = {}
        for one in told:
            by_cell.setdefault(cell_of(one.notification_id), []).append(one)
        answers = await asyncio.gather(*(self._hear(vendor, group) for group in by_cell.values()))
        results, errors = Counter[str](), list[CallerError | UnavailableError]()
        for answer in answers:
            if isinstance(answer, dict):
                results.update(answer)
            else:
                errors.append(answer)
        silent = next((error for error in errors if isinstance(error, UnavailableError)), None)
        if silent is not None:
            raise silent
        if errors and len(errors) == len(answers):
            raise errors[0]
        return dict(results)

    async def _hear(self, vendor: str, told: Sequence[Told]) -> dict[str, int] | CallerError | UnavailableError:
        """Apply receipts of one cell. An error is returned, so that it does not stop the other cells."""
        try:
            return await self._cells.of(told[0].notification_id).hear(vendor, told)
        except (CallerError, UnavailableError) as error:
            return error
