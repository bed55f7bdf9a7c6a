"""Everything that callers, operators and vendors can ask of an intake replica.

The HTTP routes use no other part of the replica.
"""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.accept.intake import Intake
from dispatcher.config.settings import LimitsSettings
from dispatcher.operate.dead_letters import DeadLetters
from dispatcher.operate.listings import Listings
from dispatcher.operate.probes import Probes
from dispatcher.operate.receipts import Receipts
from dispatcher.operate.templates import Templates
from dispatcher.operate.triggers import Triggers
from dispatcher.operate.vendors import Vendors


@dataclass(frozen=True, slots=True)
class UseCases:
    """The objects that do what the HTTP interface offers. `receipts` is None if vendors are not asked for receipts."""

    intake: Intake
    triggers: Triggers
    vendors: Vendors
    dead_letters: DeadLetters
    listings: Listings
    templates: Templates
    probes: Probes
    receipts: Receipts | None
    limits: LimitsSettings
