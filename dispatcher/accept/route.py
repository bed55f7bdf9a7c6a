"""How a trigger comes to its cell, if an installation has several cells (`core.cells`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from dispatcher.accept.grouped import Grouped
from dispatcher.core.life.notification import NewTrigger
from dispatcher.errors import LimitedError, UnavailableError
from dispatcher.ports import Charged, ChargeResult, Store


class MovedError(Exception):
    """More cells are in force than those by which a trigger's cell was chosen. The router chooses the cell again."""

    def __init__(self, cells: int) -> None:
        super().__init__(cells)
        self.cells = cells


@dataclass(frozen=True, slots=True)
class Route:
    """The way of one trigger to its cell.

    Attributes:
        cells: how many cells were in force when the cell was chosen.
        charge: charges the trigger in the counting cell of its tenant; None if the trigger's own cell counts.
    """

    cells: int = 1
    charge: Callable[[NewTrigger], Awaitable[Charged]] | None = None

    def counts_elsewhere(self, trigger: NewTrigger) -> bool:
        """Return True if another cell than the trigger's own must be asked for a rate or a cap."""
        return self.charge is not None and (trigger.rate is not None or any(n.caps for n in trigger.notifications))


ONLY = Route()
"""The route of every trigger if there is one cell."""


class Questions:
    """Asks one cell about triggers that another cell may store, or has stored."""

    def __init__(self, store: Store, *, together: int, deadline_s: float) -> None:
        """Prepare. Up to `together` questions share a round trip, which may take `deadline_s` seconds."""
        self._store = store
        self._known: Grouped[tuple[str, int], tuple[int, str | None]] = Grouped(
            self._ask_known, most=together, deadline_s=deadline_s
        )
        self._charge: Grouped[NewTrigger, Charged] = Grouped(self._ask_charge, most=together, deadline_s=deadline_s)

    async def known(self, trigger_id: str, cells: int) -> str | None:
        """Return the hash of the body of this trigger, or None if the cell does not have the trigger.

        Afterwards the cell stores nothing for a process that knows of fewer than `cells` cells. Raises MovedError if
        more cells are in force, and UnavailableError if the trigger cannot be looked for.
        """
        in_force, body_hash = await self._known.ask((trigger_id, cells))
        if in_force > cells:
            raise MovedError(in_force)
        if body_hash == "":
            raise UnavailableError("the record of this key is broken", 5.0)
        return body_hash

    async def _ask_known(self, asked: Sequence[tuple[str, int]]) -> list[tuple[int, str | None]]:
        found = await self._store.known([tid for tid, _ in asked], max(cells for _, cells in asked))
        return [(found.cells, body_hash) for body_hash in found.body_hashes]

    async def _ask_charge(self, triggers: Sequence[NewTrigger]) -> list[Charged]:
        return await self._store.charge(triggers)

    async def charge(self, trigger: NewTrigger) -> Charged:
        """Charge the trigger here. Return the answer, whose result is CHARGED.

        Raises LimitedError or UnavailableError if the trigger must not be stored now.
        """
        charged = await self._charge.ask(trigger)
        match charged.result:
            case ChargeResult.LIMITED if trigger.rate is not None and charged.quota is not None:
                raise LimitedError(trigger.rate, charged.quota)
            case ChargeResult.CHARGED:
                return charged
            case ChargeResult.FULL:
                raise UnavailableError("the store is full", 5.0)
            case _:
                raise UnavailableError("the store refused the write", 5.0)
