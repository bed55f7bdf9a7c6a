"""The operations of callers on their triggers, over several cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dispatcher.core.life.trigger_view import TriggerView
from dispatcher.errors import CallerError, UnavailableError
from dispatcher.operate.over_cells.cells import Cells
from dispatcher.operate.triggers import Cancelled, Triggers


class TriggersOverCells:
    """Finds and cancels triggers of one tenant, each in its cell. The methods are those of `Triggers`."""

    def __init__(self, cells: Cells[Triggers], ids_of_key: Callable[[str, str], Sequence[str]]) -> None:
        """Prepare to ask the cells.

        `ids_of_key` returns, for a tenant and a key, each id that the trigger may have: one for each cell that owned
        the key at some number of cells.
        """
        self._cells, self._ids_of_key = cells, ids_of_key

    async def find(self, tenant: str, tid: str) -> TriggerView:
        """Return the trigger with this id. Raises CallerError (404) and UnavailableError."""
        return await self._cells.of(tid).find(tenant, tid)

    async def find_by_key(self, tenant: str, key: str) -> TriggerView:
        """Return the trigger that was posted with this idempotency key.

        Raises CallerError (404) only if every cell that may have the trigger has answered that it has not. Raises
        UnavailableError otherwise.
        """
        silent: UnavailableError | None = None
        for tid in self._ids_of_key(tenant, key):
            try:
                return await self.find(tenant, tid)
            except CallerError:
                continue
            except UnavailableError as error:
                silent = error
        if silent is not None:
            raise silent
        raise CallerError("id", "is not a trigger of this tenant", 404)

    async def cancel(self, tenant: str, tid: str) -> list[Cancelled]:
        """Withdraw all notifications of a trigger that no actor has claimed, and return the result of each.

        Raises CallerError (404) and UnavailableError (maybe done). The call may be repeated safely.
        """
        return await self._cells.of(tid).cancel(tenant, tid)
