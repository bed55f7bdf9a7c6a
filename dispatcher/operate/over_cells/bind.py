"""Makes the use cases over several cells from the use cases of each cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from dispatcher.accept.intake import trigger_id
from dispatcher.operate.dead_letters import DeadLetters
from dispatcher.operate.listings import Listings
from dispatcher.operate.over_cells.cells import Cells
from dispatcher.operate.over_cells.dead_letters import DeadLettersOverCells
from dispatcher.operate.over_cells.listings import ListingsOverCells
from dispatcher.operate.over_cells.probes import ProbesOverCells
from dispatcher.operate.over_cells.receipts import ReceiptsOverCells
from dispatcher.operate.over_cells.templates import TemplatesOverCells
from dispatcher.operate.over_cells.triggers import TriggersOverCells
from dispatcher.operate.over_cells.vendors import VendorsOverCells
from dispatcher.operate.probes import Probes
from dispatcher.operate.receipts import Receipts
from dispatcher.operate.templates import Templates
from dispatcher.operate.triggers import Triggers
from dispatcher.operate.use_cases import Accepts, UseCases
from dispatcher.operate.vendors import Vendors

Kind = TypeVar("Kind")


class Routes(Accepts, Protocol):
    """Accepts triggers, and knows in which cells a trigger may be."""

    def places(self, tenant: str, key: str) -> Sequence[str]:
        """Return the cells where the trigger of this tenant with this key may be, the most likely first."""
        ...


def over_cells(parts: Mapping[str, UseCases], answers: Mapping[str, Callable[[], bool]], router: Routes) -> UseCases:
    """Return the use cases of an intake replica over several cells.

    `parts` are the use cases of each cell, in the order of the cells. `answers` tells whether a cell's store has
    answered lately.
    """

    def ids_of_key(tenant: str, key: str) -> list[str]:
        return [trigger_id(tenant, key, cell) for cell in router.places(tenant, key)]

    def cells(kind: type[Kind], of: Callable[[UseCases], object]) -> Cells[Kind]:
        found: dict[str, Kind] = {}
        for cell, part in parts.items():
            one = of(part)
            assert isinstance(one, kind), "the use cases of one cell"
            found[cell] = one
        return Cells(found, lambda cell: answers[cell]())

    any_part = next(iter(parts.values()))
    return UseCases(
        intake=router,
        triggers=TriggersOverCells(cells(Triggers, lambda part: part.triggers), ids_of_key),
        vendors=VendorsOverCells(cells(Vendors, lambda part: part.vendors)),
        dead_letters=DeadLettersOverCells(cells(DeadLetters, lambda part: part.dead_letters)),
        listings=ListingsOverCells(cells(Listings, lambda part: part.listings)),
        templates=TemplatesOverCells(cells(Templates, lambda part: part.templates)),
        probes=ProbesOverCells(cells(Probes, lambda part: part.probes)),
        receipts=None if any_part.receipts is None else ReceiptsOverCells(cells(Receipts, lambda part: part.receipts)),
        limits=any_part.limits,
    )
