"""Everything that callers, operators and vendors can ask of an intake replica.

The HTTP routes use no other part of the replica.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from dispatcher.accept.accepted import Accepted
from dispatcher.accept.preparation import Prepared
from dispatcher.config.settings import LimitsSettings
from dispatcher.operate.dead_letters import DeadLetters
from dispatcher.operate.listings import Listings
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
from dispatcher.operate.vendors import Vendors


class Accepts(Protocol):
    """Accepts triggers: the intake of one cell, or the router before the intakes of several cells."""

    def check_started(self) -> None:
        """Raise UnavailableError if nothing can be accepted yet."""
        ...

    async def accept(self, tenant: str, body: Any, header_key: str | None = None) -> Accepted:
        """Store one trigger, as `Intake.accept` does."""
        ...

    async def dry_run(self, tenant: str, body: Any, header_key: str | None = None) -> Prepared:
        """Return what this body would become, as `Intake.dry_run` does."""
        ...


@dataclass(frozen=True, slots=True)
class UseCases:
    """The objects that do what the HTTP interface offers, for one cell or over several cells.

    `receipts` is None if vendors are not asked for receipts.
    """

    intake: Accepts
    triggers: Triggers | TriggersOverCells
    vendors: Vendors | VendorsOverCells
    dead_letters: DeadLetters | DeadLettersOverCells
    listings: Listings | ListingsOverCells
    templates: Templates | TemplatesOverCells
    probes: Probes | ProbesOverCells
    receipts: Receipts | ReceiptsOverCells | None
    limits: LimitsSettings
