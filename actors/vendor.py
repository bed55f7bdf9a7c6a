"""The vendor actor: a courier with its own breaker, limits and client. The actor has one incarnation at a time.

The actor keeps no data that must survive a crash. Such data is written to Redis before anybody is told about it. If the
actor crashes, its notifications stay claimed by its incarnation. The supervisor declares the incarnation dead, and
another actor that drains the mailbox takes the notifications.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

from actors.assembly import make_caretaker, make_courier, make_incarnations, make_look_ups
from actors.runtime import Tasks, leave_if_asked, open_mailboxes, open_redis, open_replicated, told_cores
from dispatcher.adapters.cores import Cores
from dispatcher.adapters.providers import build
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.replicas import ReplicatedWrites
from dispatcher.adapters.redis.templates import RedisTemplateStore
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.config.secret_references import resolve_options
from dispatcher.config.settings import Settings, VendorSettings, parse_settings
from dispatcher.core.json_object import JsonObject
from dispatcher.core.plan.identity import Identity
from dispatcher.deliver.breaker_memory import BreakerMemory
from dispatcher.deliver.heartbeat import Heartbeat
from dispatcher.deliver.plan_duties import PlanDuties
from dispatcher.deliver.reporter import Reporter
from dispatcher.deliver.surroundings import Surroundings
from dispatcher.deliver.watchdog import Watchdog
from dispatcher.errors import UnavailableError
from dispatcher.ports import Clock, Control, Store, Vendor
from dispatcher.supervise.plan_follower import PlanFollower
from dispatcher.telemetry.log import configure
from dispatcher.telemetry.metrics import Metrics
from dispatcher.templates.cache import TemplateCache
from dispatcher.version import VERSION


class VendorActor:
    """One replica of a vendor's pool. It starts, stops and checks a courier and the loops around the courier."""

    def __init__(self, settings: JsonObject, vendor: str, runtime: dict[str, str], identity: Identity) -> None:
        """Check the settings. Nothing is connected: a Redis that is still loading must not fail a deployment."""
        self._settings: Settings = parse_settings(settings)
        self._name = vendor
        self._config: VendorSettings = self._settings.vendors[vendor]
        self._runtime, self._identity = runtime, identity
        self._vendor: Vendor = build(
            self._config.adapter, vendor, self._config.channel, resolve_options(self._config.options)
        )
        self._tasks, self._metrics = Tasks(), Metrics()
        self._changed = asyncio.Event()
        self._replicated: ReplicatedWrites | None = None
        self._cores: Cores | None = None  # None in a simulation, which does not measure this machine

    async def start(self) -> None:
        self._open()
        identity = self._identity
        s, control, clock, chance = self._settings, self._control, self._clock, self._chance
        around = Surroundings(self._store, self._templates, clock, self._metrics, chance)
        courier = self._courier = make_courier(s, self._vendor, around, changed=self._changed.set)
        self._memory = BreakerMemory(self._name, courier.breaker, control, clock, chance=chance)
        self._duties = duties = PlanDuties(
            *(courier, self._store, clock),
            wish=self._config.replicas_min,
            open_wait_s=self._config.breaker.open_wait_s,
            changed=self._changed.set,
        )
        follower = PlanFollower(control, clock, chance, current=lambda: courier.plan, adopt=duties.adopt)
        self._watchdog = Watchdog(courier, control, clock, s.courier.stuck_s)
        self._incarnations = make_incarnations(s, courier, control, around, identity=identity, begun=self._changed.set)
        self._reporter = Reporter(
            *(courier, control, clock, self._metrics),
            memory=self._memory,
            identity=identity,
            changed=self._changed,
            period_s=s.supervision.report_ms / 1000,
            version=VERSION,
            before=duties.look_again,
            told_cores=lambda: told_cores(self._cores, clock.now_s()),
        )
        self._tasks.start("courier", self._deliver())
        self._tasks.start("outbox", courier.outbox.run())
        self._tasks.start("caretaker", make_caretaker(s, courier, around).run())
        look_ups = make_look_ups(s, courier, self._vendor, around)
        if look_ups is not None:
            self._tasks.start("look-ups", look_ups.run())
        self._tasks.start("plan", follower.run())
        self._tasks.start("beat", Heartbeat(courier, control, clock, identity).run(s.supervision.beat_ms / 1000))
        self._tasks.start("report", self._reporter.run())
        self._tasks.start("watchdog", self._watchdog.run())
        await asyncio.sleep(0)

    def _open(self) -> None:
        """Make the clients for Redis. A simulation replaces this method alone, and runs all other code of the actor."""
        configure()
        s = self._settings
        self._clock: Clock = SystemClock()
        self._cores = Cores()
        self._chance: Callable[[], float] = random.random
        connection = open_redis(self._runtime)
        self._replicated = open_replicated(self._runtime, s, connection)
        self._store: Store = open_mailboxes(self._runtime, s, connection, self._replicated, vendor=self._name)
        self._control: Control = RedisControl(connection)
        self._templates = TemplateCache(RedisTemplateStore(connection))
        self._close: Callable[[], Awaitable[None]] = connection.aclose
        if self._replicated is not None:
            self._tasks.start("replicas", self._replicated.watch())

    def check(self) -> None:
        """Raise RuntimeError if Serve must replace this actor.

        Serve must replace it if a loop has ended, if nothing is done although there is work, or if the plan moves the
        actor to another machine.
        """
        self._tasks.check()
        if self._watchdog.stuck:
            raise RuntimeError(self._watchdog.stuck)
        leave_if_asked(self._courier.plan, self._identity)

    def statistics(self) -> dict[str, float]:
        """Return how many actors the plan wants in this vendor's pool. Serve's autoscaler reads this figure."""
        return {"replicas": float(self._duties.wish)}

    async def stop(self, deadline_s: float) -> None:
        """Stop claiming, finish running calls, store their outcomes, and end the incarnation.

        `deadline_s` limits the time in seconds. If claims are left unfinished after it, other actors take them at once.
        """
        courier = self._courier
        self._incarnations.stopping = courier.stopping = True
        with contextlib.suppress(UnavailableError):
            await self._store.wake()
        await courier.finish(max(0.5, deadline_s - 1.0))
        with contextlib.suppress(UnavailableError):
            await self._reporter.send()
            if courier.me:
                await self._memory.remember(courier.me, always=True)
                await self._control.stopped(courier.me)
        await self._tasks.stop()
        if self._replicated is not None:
            await self._replicated.close()
        await self._vendor.close()
        await self._close()

    async def _deliver(self) -> None:
        await self._duties.prepare(control=self._control, memory=self._memory, chance=self._chance)
        await self._incarnations.run()
