"""Makes objects for the unit tests: scripted vendors, a store that can fail, and whole couriers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from dispatcher.adapters.memory.cell import Cell
from dispatcher.adapters.memory.control import MemoryControl
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.adapters.memory.views import MemoryViews
from dispatcher.core.breaker.breaker import Breaker
from dispatcher.core.breaker.config import BreakerConfig
from dispatcher.core.breaker.per_country import KeyedBreakers
from dispatcher.core.life.decide import ALONE_FROM
from dispatcher.core.life.notification import NewNotification, NewTrigger
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.life.rendered_message import Message
from dispatcher.core.life.retry import RetryPolicy
from dispatcher.core.plan.values import Plan, VendorPlan
from dispatcher.deliver.attempt import Terms
from dispatcher.deliver.courier import Courier, CourierLimits
from dispatcher.deliver.maintenance import Caretaker, CaretakerPeriods
from dispatcher.deliver.surroundings import Surroundings
from dispatcher.errors import UnavailableError
from dispatcher.ports import STORED
from dispatcher.telemetry.metrics import Metrics
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.store import MemoryTemplateStore
from tests.virtual import VirtualClock


class ScriptedVendor:
    """A vendor that answers each call with the next of the given outcomes, and after the last with `then` or an
    acceptance.

    The vendor records each message and the time of each call. An outcome that is an exception is raised.
    """

    channel = "sms"

    def __init__(self, name: str, outcomes: Iterable[Outcome | Exception] = (), duration_s: float = 0.02) -> None:
        self.name, self.duration_s = name, duration_s
        self.outcomes = list(outcomes)
        self.then: Outcome | None = None
        self.sent: list[Message] = []
        self.times_s: list[float] = []

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        self.sent.append(message)
        self.times_s.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.duration_s)
        outcome = self.outcomes.pop(0) if self.outcomes else self.then
        if isinstance(outcome, Exception):
            raise outcome
        return outcome or Outcome.accepted(f"{self.name}-{len(self.sent)}")

    async def close(self) -> None:
        return None

    @property
    def ids(self) -> list[str]:
        return [message.notification_id for message in self.sent]


class FaultyStore:
    """A store that passes calls on to another store, and can fail.

    While `away` is set, every call fails before it reaches the other store. A method whose name is in `lose` is carried
    out once and then fails, as if its answer were lost.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.away = False
        self.lose: list[str] = []
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*args: Any) -> Any:
            self.calls.append(name)
            if self.away:
                raise UnavailableError("away")
            reply = await method(*args)
            if name in self.lose:
                self.lose.remove(name)
                raise UnavailableError("the reply was lost")
            return reply

        return call


class Stage:
    """An in-memory store, on which tests start couriers. A Stage must be created inside a virtual event loop."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.cell = Cell(self.clock)
        self.control = MemoryControl(self.cell)
        self.views = MemoryViews(self.cell)
        self.template_store = MemoryTemplateStore()
        self.metrics = Metrics()
        self.tasks: list[asyncio.Task[Any]] = []
        self._ids = 0

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self.tasks.append(task)
        return task

    async def courier(
        self,
        vendor: ScriptedVendor,
        *,
        store: Any = None,
        limits: CourierLimits | None = None,
        breaker: BreakerConfig | None = None,
        retry: RetryPolicy | None = None,
        terms: Terms | None = None,
        run: bool = True,
        per_country: bool = False,
    ) -> Courier:
        parent = Breaker(breaker or BreakerConfig(), int(self.clock.now_s() * 1e9))
        courier = Courier(
            vendor,
            parent,
            Surroundings(store or MemoryStore(self.cell), TemplateCache(self.template_store), self.clock, self.metrics),
            terms or Terms(retry or RetryPolicy()),
            limits=limits or CourierLimits(),
            keys=KeyedBreakers(parent) if per_country else None,
        )
        courier.begin(await self.control.register(vendor.name))
        if run:
            self.start(courier.run())
            self.start(courier.outbox.run())
        return courier

    async def accept(
        self, count: int = 1, vendor: str = "a", chain: Sequence[str] = ("a", "b"), **changes: Any
    ) -> list[str]:
        """Accept `count` notifications and return their ids."""
        made = []
        for _ in range(count):
            self._ids += 1
            fields: dict[str, Any] = {
                "id": f"0-t{self._ids}",
                "tenant": "shop",
                "event": "e",
                "body_hash": "h",
                "accepted_ms": self.clock.wall_ms(),
                "expires_ms": self.clock.wall_ms() + 3_600_000,
                "priority": "normal",
                "on_unknown": "resend",
                "data": {"name": "Ada"},
                "notifications": (
                    NewNotification("sms", "+4915112345678", tuple(chain), vendor, content={"text": "Hi"}),
                ),
            }
            made.append(NewTrigger(**{**fields, **changes}))
        assert await MemoryStore(self.cell).accept(made) == [STORED] * count
        return [f"{trigger.id}.0" for trigger in made]

    def state(self, nid: str) -> str:
        return self.cell.found(nid)[1].state

    def states(self) -> list[str]:
        return [note.state for record in self.cell.records.values() for note in record.notes]

    def history(self, nid: str) -> list[tuple[str, str]]:
        return [(attempt.vendor, attempt.outcome) for attempt in self.cell.found(nid)[1].history]

    def counted(self, name: str, *labels: str) -> float:
        rows = {(row[0], tuple(row[1])): row[2] for row in self.metrics.snapshot()["c"]}
        return float(rows.get((name, labels), 0.0))


def plan_of(epoch: int = 1, **states: str) -> Plan:
    """Return a plan in which each vendor of `states` has the given state.

    Each healthy or recovering vendor drains its own mailbox. The first healthy vendor also drains the mailboxes of all
    vendors that are not healthy.
    """
    healthy = [name for name, state in states.items() if state == "closed"]
    drains = {name: [name] if state != "open" else [] for name, state in states.items()}
    for name, state in states.items():
        if state != "closed" and healthy:
            drains[healthy[0]].append(name)
    vendors = {n: VendorPlan(n, s, s == "closed", tuple(drains[n])) for n, s in states.items()}
    held = {} if healthy else dict.fromkeys(states, "all down")
    return Plan(epoch, 0, vendors, held)


def tend(stage: Stage, courier: Courier, store: Any = None, **periods: float) -> Caretaker:
    return Caretaker(
        courier,
        store or MemoryStore(stage.cell),
        stage.clock,
        frozenset("ab"),
        periods=CaretakerPeriods(**{"take_s": 0.2, "audit_s": 0.5, "due_s": 0.1, "sweep_s": 0.2, **periods}),
    )


def suspected(stage: Stage, ids: list[str], crashes: int = ALONE_FROM) -> None:
    for nid in ids:
        stage.cell.found(nid)[1].crashes = crashes
