"""Two or more cells in memory, for the tests of the use cases over cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from unittest import mock

from dispatcher.accept.store_watch import StoreBreaks
from dispatcher.adapters.memory.listings import MemoryListings
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.config.settings import parse_settings
from dispatcher.core.life.receipt import ReceiptLinks
from dispatcher.core.plan.stall import StallWatch
from dispatcher.errors import UnavailableError
from dispatcher.operate.dead_letters import DeadLetters
from dispatcher.operate.fleet import Fleet
from dispatcher.operate.listings import Listings
from dispatcher.operate.over_cells.cells import Cells
from dispatcher.operate.probes import Probes, Replica, Watches
from dispatcher.operate.receipts import Receipts
from dispatcher.operate.stalls import Stalls
from dispatcher.operate.triggers import Triggers
from dispatcher.operate.vendors import Vendors
from dispatcher.telemetry.metrics import Metrics
from tests.unit.stage import Stage, plan_of

Part = TypeVar("Part")
LINKS = ReceiptLinks("https://shop.example", "secret")


class Silence:
    """An object whose every method raises UnavailableError while `on` is True, and otherwise calls `inner`."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.on = inner, False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        async def call(*args: Any, **named: Any) -> Any:
            if self.on:
                raise UnavailableError("the store does not answer")
            return await method(*args, **named)

        return call


SETTINGS = parse_settings(
    {
        "vendors": {
            "a": {"adapter": "twilio", "channel": "sms"},
            "b": {"adapter": "vonage", "channel": "sms"},
            "m": {"adapter": "sendgrid", "channel": "email"},
        },
        "routes": [{"channel": "sms", "chain": ["a", "b"]}, {"channel": "email", "chain": ["m"]}],
    }
)
CHANNELS = {name: vendor.channel for name, vendor in SETTINGS.vendors.items()}


class _Vitals:
    """The state of a store: its memory in bytes, and no failed operation."""

    async def memory(self) -> tuple[int, int]:
        return 10, 100

    async def log_faults(self) -> tuple[str, ...]:
        return ()


class OneCell:
    """One cell in memory. While `stops_answering` is True, its store raises UnavailableError."""

    def __init__(self, name: str) -> None:
        self.name, self.stage, self._made = name, Stage(), 0
        self.views, self.store = Silence(self.stage.views), Silence(MemoryStore(self.stage.cell))
        self.control, self.places = Silence(self.stage.control), Silence(MemoryListings(self.stage.cell))
        self.plan = plan_of(a="closed", b="closed", m="closed")
        clock = self.stage.clock
        self.breaks = StoreBreaks(Metrics(), clock)
        self.fleet = Fleet(clock, self.breaks.continuity)
        self.intake: Any = mock.Mock(started=True, nearly_full=False)
        self.intake.time.now_ms = clock.wall_ms

    def silence(self, on: bool = True) -> None:
        for part in (self.views, self.store, self.control, self.places):
            part.on = on

    async def accept(self, count: int = 1, **changes: Any) -> list[str]:
        """Accept `count` notifications in this cell, and return their ids."""
        ids = []
        for _ in range(count):
            self._made += 1
            ids += await self.stage.accept(1, id=f"{self.name}-t{self._made}", **changes)
        return ids

    async def die(self, count: int = 1, reason: str = "late") -> list[str]:
        """Accept `count` notifications and make them dead letters. Return their ids."""
        ids = await self.accept(count)
        for nid in ids:
            await MemoryStore(self.stage.cell).withdraw(nid, "dead", reason)
        return ids

    def dead_letters(self, per_s: float = 1000.0) -> DeadLetters:
        return DeadLetters(
            *(self.views, ("a", "b").__contains__, lambda: self.plan),
            per_s=per_s,
            slow_per_s=1.0,
            wall_ms=self.stage.clock.wall_ms,
        )

    def vendors(self) -> Vendors:
        clock = self.stage.clock
        return Vendors(SETTINGS.vendors, self.control, self.fleet, lambda: self.plan, clock=clock)

    def probes(self, warnings: tuple[str, ...] = ()) -> Probes:
        self.intake.plan = self.plan
        stalls = Stalls(StallWatch(CHANNELS, {}), self.fleet, lambda: self.plan, self.stage.clock)
        watches = Watches(mock.Mock(answers=True, log_faults=()), self.breaks, self.fleet, stalls)
        replica, vitals = Replica("0", {"ingress": "haproxy"}, warnings), Silence(_Vitals())
        return Probes(self.intake, watches, self.control, vitals, channels=CHANNELS, replica=replica)

    def listings(self) -> Listings:
        return Listings(self.places)

    def triggers(self) -> Triggers:
        return Triggers(self.views, self.store)

    def receipts(self, told: Callable[..., Any] = lambda query, body: []) -> Receipts:
        return Receipts(LINKS, self.store, self.views, self.stage.metrics, readers={"a": told})


class SeveralCells:
    """Some cells in memory. `known_away` are those that the watch of the stores already knows to be away."""

    def __init__(self, names: str = "01") -> None:
        self.cells = {name: OneCell(name) for name in names}
        self.known_away: set[str] = set()

    def __getitem__(self, name: str) -> OneCell:
        return self.cells[name]

    def parts(self, make: Callable[[OneCell], Part]) -> Cells[Part]:
        made = {name: make(cell) for name, cell in self.cells.items()}
        return Cells(made, lambda name: name not in self.known_away)
