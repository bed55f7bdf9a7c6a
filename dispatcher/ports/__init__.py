"""The ports: the contracts between the three loops (intake, courier, supervisor) and the outside world.

Every guarantee stands here, and no adapter adds one. This package does not depend on Redis, Ray or HTTP. Each port has
a module: `clock`, `vendors`, `store`, `cells`, and `control` (for actors and the plan). The modules `trigger_views`,
`places` and `dead_letters` are for what people read and change. `replies` holds the values that the ports return.
"""

from dispatcher.ports.cells import CellMember
from dispatcher.ports.clock import Clock
from dispatcher.ports.control import Control, Incarnation, Remembered, Term, Vitals
from dispatcher.ports.dead_letters import DeadLetterQueue
from dispatcher.ports.listings import StateListings
from dispatcher.ports.replies import (
    STORED,
    AcceptReply,
    AcceptResult,
    Applied,
    Begun,
    Charged,
    ChargeResult,
    Claims,
    DeadPage,
    Due,
    DueEntry,
    ExpiredPage,
    Grant,
    Held,
    HeldUntil,
    Known,
    Memory,
    Orphan,
    PlacePage,
    Promoted,
    Redriven,
    Routing,
    Withdrawal,
    WithdrawResult,
)
from dispatcher.ports.store import CHARGE_KEPT_MS, Store
from dispatcher.ports.trigger_views import TriggerViews
from dispatcher.ports.vendors import LooksUp, Vendor

__all__ = [
    "CHARGE_KEPT_MS",
    "STORED",
    "AcceptReply",
    "AcceptResult",
    "Applied",
    "Begun",
    "CellMember",
    "ChargeResult",
    "Charged",
    "Claims",
    "Clock",
    "Control",
    "DeadLetterQueue",
    "DeadPage",
    "Due",
    "DueEntry",
    "ExpiredPage",
    "Grant",
    "Held",
    "HeldUntil",
    "Incarnation",
    "Known",
    "LooksUp",
    "Memory",
    "Orphan",
    "PlacePage",
    "Promoted",
    "Redriven",
    "Remembered",
    "Routing",
    "StateListings",
    "Store",
    "Term",
    "TriggerViews",
    "Vendor",
    "Vitals",
    "WithdrawResult",
    "Withdrawal",
]
