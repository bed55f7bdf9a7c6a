"""The ports: the contracts between the three loops (intake, courier, supervisor) and the outside world.

Every guarantee stands here, and no adapter adds one. This package does not depend on Redis, Ray or HTTP. Each port has
a module: `clock`, `vendors`, `store`, `views` (for people) and `control` (for actors and the plan). `replies` holds the
values that the ports return.
"""

from dispatcher.ports.clock import Clock
from dispatcher.ports.control import Control, Incarnation, Remembered, Term, Vitals
from dispatcher.ports.replies import (
    STORED,
    AcceptReply,
    AcceptResult,
    Applied,
    Begun,
    Claims,
    DeadPage,
    Due,
    DueEntry,
    ExpiredPage,
    Grant,
    Held,
    HeldUntil,
    Memory,
    Orphan,
    PlacePage,
    Promoted,
    Redriven,
    Routing,
    Withdrawal,
    WithdrawResult,
)
from dispatcher.ports.store import Store
from dispatcher.ports.vendors import LooksUp, Vendor
from dispatcher.ports.views import Graveyard, Places, Views

__all__ = [
    "STORED",
    "AcceptReply",
    "AcceptResult",
    "Applied",
    "Begun",
    "Claims",
    "Clock",
    "Control",
    "DeadPage",
    "Due",
    "DueEntry",
    "ExpiredPage",
    "Grant",
    "Graveyard",
    "Held",
    "HeldUntil",
    "Incarnation",
    "LooksUp",
    "Memory",
    "Orphan",
    "PlacePage",
    "Places",
    "Promoted",
    "Redriven",
    "Remembered",
    "Routing",
    "Store",
    "Term",
    "Vendor",
    "Views",
    "Vitals",
    "WithdrawResult",
    "Withdrawal",
]
