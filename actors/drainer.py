"""The part of a vendor actor that drains the mailboxes of one cell.

A cell has its own Redis, plan and incarnations. So each drainer has its own courier, breaker and limits. If its Redis
does not answer, it waits alone. The drainers of an actor share only the vendor's client and the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from actors.assembly import make_caretaker, make_courier, make_incarnations, make_look_ups
from actors.runtime import CellRedis, Tasks
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.replicas import ReplicatedWrites
from dispatcher.adapters.redis.templates import RedisTemplateStore
from dispatcher.config.settings import Settings
from dispatcher.core.plan.identity import Identity
from dispatcher.core.plan.values import Plan
from dispatcher.deliver.breaker_memory import BreakerMemory
from dispatcher.deliver.heartbeat import Heartbeat
from dispatcher.deliver.plan_duties import PlanDuties
from dispatcher.deliver.reporter import Reporter
from dispatcher.deliver.surroundings import Surroundings
from dispatcher.deliver.watchdog import Watchdog
from dispatcher.errors import UnavailableError
from dispatcher.ports import Control, Store, Vendor
from dispatcher.supervise.plan_follower import PlanFollower
from dispatcher.templates.cache import TemplateCache
from dispatcher.version import VERSION


@dataclass(frozen=True, slots=True)
class Links:
    """The connections of a drainer to the Redis of its cell. `close` closes them."""

    store: Store
    control: Control
    templates: TemplateCache
    close: Callable[[], Awaitable[None]]
    replicated: ReplicatedWrites | None = None

    @classmethod
    def open(cls, cell: CellRedis, settings: Settings, vendor: str) -> Links:
        """Make the clients for the courier of `vendor`. Nothing is connected before the first call."""
        connection = cell.open()
        replicated = cell.open_replicated(settings, connection)

        async def close() -> None:
            if replicated is not None:
                await replicated.close()
            await connection.aclose()

        return cls(
            cell.open_mailboxes(settings, connection, replicated, vendor=vendor),
            RedisControl(connection, cell.keys),
            TemplateCache(RedisTemplateStore(connection, cell.keys.prefix)),
            close,
            replicated,
        )


class Drainer:
    """Drains the mailboxes of one cell for one vendor actor."""

    def __init__(
        self,
        settings: Settings,
        vendor: Vendor,
        around: Surroundings,
        control: Control,
        *,
        identity: Identity,
        told_cores: Callable[[], Mapping[str, float]],
    ) -> None:
        """Make the courier and the loops around it. `start` begins them. `told_cores` is explained in `Reporter`."""
        self._settings, self._around, self._control = settings, around, control
        self._changed = asyncio.Event()
        config, store, clock = settings.vendors[vendor.name], around.store, around.clock
        courier = self.courier = make_courier(settings, vendor, around, changed=self._changed.set)
        self._memory = BreakerMemory(vendor.name, courier.breaker, control, clock, chance=around.chance)
        self.duties = PlanDuties(
            *(courier, store, clock),
            wish=config.replicas_min,
            open_wait_s=config.breaker.open_wait_s,
            changed=self._changed.set,
        )
        self._watchdog = Watchdog(courier, control, clock, settings.courier.stuck_s)
        self._beats = Heartbeat(courier, control, clock, identity)
        self._incarnations = make_incarnations(settings, courier, control, around, identity=identity, begun=self._begun)
        self._follower = PlanFollower(
            *(control, clock, around.chance), current=lambda: courier.plan, adopt=self.duties.adopt
        )
        self._reporter = Reporter(
            *(courier, control, clock, around.metrics),
            memory=self._memory,
            identity=identity,
            changed=self._changed,
            period_s=settings.supervision.report_ms / 1000,
            version=VERSION,
            before=self.duties.look_again,
            told_cores=told_cores,
            cells=len(settings.store.cell_names),
        )

    def start(self, tasks: Tasks, cell: str = "") -> None:
        """Start all loops in `tasks`. `cell` is a text that is appended to their names."""
        s, courier, around = self._settings, self.courier, self._around
        look_ups = make_look_ups(s, courier, courier.vendor, around)
        tasks.start(f"courier{cell}", self._deliver())
        tasks.start(f"outbox{cell}", courier.outbox.run())
        tasks.start(f"caretaker{cell}", make_caretaker(s, courier, around).run())
        if look_ups is not None:
            tasks.start(f"look-ups{cell}", look_ups.run())
        tasks.start(f"plan{cell}", self._follower.run())
        tasks.start(f"beat{cell}", self._beats.run(s.supervision.beat_ms / 1000))
        tasks.start(f"report{cell}", self._reporter.run())
        tasks.start(f"watchdog{cell}", self._watchdog.run())

    @property
    def plan(self) -> Plan:
        """Return the plan by which this drainer works."""
        return self.courier.plan

    def check(self) -> None:
        """Raise RuntimeError if nothing is done although there is work."""
        if self._watchdog.stuck:
            raise RuntimeError(self._watchdog.stuck)

    async def finish(self, deadline_s: float) -> None:
        """Stop claiming, finish running calls, store their outcomes, and end the incarnation.

        The loops that `start` has begun still run afterwards. `deadline_s` limits the time in seconds.
        """
        courier = self.courier
        self._incarnations.stopping = courier.stopping = True
        with contextlib.suppress(UnavailableError):
            await self._around.store.wake()
        await courier.finish(max(0.5, deadline_s - 1.0))
        with contextlib.suppress(UnavailableError):
            await self._reporter.send()
            if courier.me:
                await self._memory.remember(courier.me, always=True)
                await self._control.stopped(courier.me)

    def _begun(self) -> None:
        """Report the new incarnation, and look for the plan that gives it its work."""
        self._changed.set()
        self._catching_up = asyncio.ensure_future(self._follower.catch_up())

    async def _deliver(self) -> None:
        await self.duties.prepare(control=self._control, memory=self._memory, chance=self._around.chance)
        await self._incarnations.run()
