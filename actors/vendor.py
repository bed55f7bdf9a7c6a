"""A vendor actor: one courier with its own breaker, limiter and client, under one incarnation at a time.

State here is soft. What must survive is in Redis before anyone is told; a crash at any instruction leaves each
notification pending under this incarnation, which the supervisor declares dead and a living drainer takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

from actors.assembly import breaker_config, courier_limits, retry_policy
from actors.runtime import VERSION, Tasks, open_redis, receipt_links, until_available
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.adapters.redis.templates import RedisTemplateStore
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.adapters.vendors import build
from dispatcher.config.secret_references import resolve_options
from dispatcher.config.settings import Settings, VendorSettings, parse_settings, read_rules
from dispatcher.core.breaker.breaker import Breaker, BreakerSnapshot, BreakerState
from dispatcher.core.breaker.config import MS_NS
from dispatcher.core.breaker.initial_state import decide_beginning
from dispatcher.core.breaker.per_country import KeyedBreakers
from dispatcher.core.life.retry import relisten_s
from dispatcher.core.plan.decide import Beat, Plan
from dispatcher.core.plan.progress import Progress
from dispatcher.deliver.courier import Courier
from dispatcher.deliver.maintenance import Caretaker, CaretakerPeriods
from dispatcher.deliver.outbox import rung
from dispatcher.deliver.status_lookups import LookUps
from dispatcher.errors import FencedError, UnavailableError
from dispatcher.ports import Clock, Control, LooksUp, Store, Vendor
from dispatcher.telemetry.log import configure, logger
from dispatcher.telemetry.metrics import Metrics
from dispatcher.templates.cache import TemplateCache


class VendorActor:
    """One replica of a vendor's pool."""

    def __init__(
        self, settings: dict[str, Any], vendor: str, runtime: dict[str, str], identity: dict[str, Any]
    ) -> None:
        """Validate, and connect to nothing: a Redis still loading must not make a deployment fail."""
        self._settings: Settings = parse_settings(settings)
        self._name = vendor
        self._config: VendorSettings = self._settings.vendors[vendor]
        self._runtime, self._identity = runtime, identity
        self._vendor: Vendor = build(
            self._config.adapter, vendor, self._config.channel, resolve_options(self._config.options)
        )
        self._tasks = Tasks()
        self._metrics = Metrics()
        self._changed = asyncio.Event()
        self._wish: float = self._config.replicas_min
        self._stopping = False
        self._remembered = 0  # the generation of the breaker that was written last
        self._stuck = ""  # why this actor has to be replaced, though all its loops run
        self._reason = ""  # of the breaker's last change

    # ---- life cycle

    async def start(self) -> None:
        self._open()
        s, clock = self._settings, self._clock
        breaker = self._breaker()
        self._courier = Courier(
            self._vendor,
            breaker,
            self._store,
            self._templates,
            clock,
            self._metrics,
            courier_limits(self._config, s.courier),
            retry_policy(s),
            self._chance,
            self._changed.set,
            receipt_links(s),
            KeyedBreakers(breaker, self._chance) if self._config.breaker.per == "country" else None,
            read_rules(self._config.rules),
        )
        periods = CaretakerPeriods(take_s=s.courier.take_s, audit_s=s.courier.audit_s)
        self._caretaker = Caretaker(self._courier, self._store, clock, frozenset(s.vendors), periods, self._chance)
        self._tasks.start("courier", self._deliver())
        self._tasks.start("outbox", self._courier.outbox.run())
        self._tasks.start("caretaker", self._caretaker.run())
        if isinstance(self._vendor, LooksUp):
            look_ups = LookUps(
                *(self._courier, self._vendor, self._store, clock),
                *(self._config.timeout_s, s.courier.look_ups_per_s, self._chance),
            )
            self._tasks.start("look-ups", look_ups.run())
        self._tasks.start("plan", self._follow_plan())
        self._tasks.start("beat", self._beat())
        self._tasks.start("report", self._report())
        self._tasks.start("watchdog", self._watch_progress())
        await asyncio.sleep(0)

    def _open(self) -> None:
        """What this actor has of the outside world. The simulation opens its own: all else of an actor runs there."""
        configure()
        s = self._settings
        self._clock: Clock = SystemClock()
        self._chance: Callable[[], float] = random.random
        connection = open_redis(self._runtime)
        waiting = open_redis(self._runtime, timeout_s=s.courier.claim_block_ms / 1000 + 2.0, connections_max=2)
        self._store: Store = RedisStore(
            connection,
            waiting,
            retention_ms=s.retention.finished_s * 1000,
            on_set_back=lambda by_ms: logger().error("store_clock_set_back", by_ms=by_ms, vendor=self._name),
        )
        self._control: Control = RedisControl(connection)
        self._templates = TemplateCache(RedisTemplateStore(connection))
        self._close: Callable[[], Awaitable[None]] = connection.aclose

    def check(self) -> None:
        """Raises when this actor has to be replaced: a loop has ended, or does nothing though there is work."""
        self._tasks.check()
        if self._stuck:
            raise RuntimeError(self._stuck)

    def statistics(self) -> dict[str, float]:
        """The pool's size as the plan wants it; Serve's autoscaler forwards it."""
        return {"replicas": float(self._wish)}

    async def stop(self, deadline_s: float) -> None:
        """Drain: stop claiming, finish the calls, settle, say goodbye. What is left is taken at once by others."""
        courier = self._courier
        self._stopping = courier.stopping = True
        with contextlib.suppress(UnavailableError):
            await self._store.wake()
        await courier.finish(max(0.5, deadline_s - 1.0))
        with contextlib.suppress(UnavailableError):
            await self._control.report(self._statement())
            if courier.me:
                await self._remember()
                await self._control.stopped(courier.me)
        await self._tasks.stop()
        await self._vendor.close()
        await self._close()

    # ---- loops

    async def _deliver(self) -> None:
        """Claim under a live incarnation; when it is not live any more, finish in its name and begin a new one."""
        courier = self._courier
        await self._begin_where_it_was_left()
        while not self._stopping:
            courier.begin(await until_available(self._register, self._chance))
            logger().info("incarnation_begun", incarnation=courier.me, vendor=self._name)
            self._changed.set()
            watch = asyncio.ensure_future(self._watch_link())
            claims = asyncio.ensure_future(courier.run())
            await asyncio.wait({watch, claims}, return_when=asyncio.FIRST_COMPLETED)
            watch.cancel()
            courier.stopping = True  # the claim loop ends by itself: a blocked read is never cancelled
            with contextlib.suppress(FencedError):
                await claims
            if not self._stopping:
                await self._end_incarnation()

    async def _begin_where_it_was_left(self) -> None:
        """Start in the state that the vendor is known to be in: a new actor must not stampede one that is down."""
        plan = await until_available(self._control.plan, self._chance)
        entry = None if plan is None else plan.vendors.get(self._name)
        written, age_ms, lives = None, 0, False
        found = await until_available(lambda: self._control.recall(self._name), self._chance)
        if found is not None:
            with contextlib.suppress(KeyError, TypeError, ValueError):  # of another version: as if nothing were there
                written, age_ms = BreakerSnapshot.from_dict(found[0]["breaker"]), found[1]
                lives = found[0]["incarnation"] in await until_available(self._control.live, self._chance)
        was = decide_beginning(written, lives, None if entry is None else entry.state)
        if was is not None:
            self._courier.breaker.restore(was, age_ms * MS_NS, self._now_ns())
        if plan is not None:
            self._adopt(plan)

    async def _end_incarnation(self) -> None:
        """Calls in flight end and settle under the old name; what was not sent is taken from it, unsuspected."""
        courier, old = self._courier, self._courier.me
        logger().warning("incarnation_ended", incarnation=old, vendor=self._name)
        await courier.finish(self._config.timeout_s + 2.0)
        await until_available(lambda: self._control.stopped(old), self._chance)
        courier.stopping = self._stopping

    async def _register(self) -> str:
        return await self._control.register(self._name, self._identity.get("pid", 0), self._identity.get("node", ""))

    async def _watch_link(self) -> None:
        """Return when this incarnation is found dead. It asks after each silence of the store, or of its own.

        Most often it lives: the store was away for everybody, or this process got no core. Then it goes on.
        """
        courier = self._courier
        while True:
            await self._clock.sleep(0.1 + 0.1 * self._chance())
            if courier.stale():
                asked_s = self._clock.now_s()
                with contextlib.suppress(UnavailableError):
                    if not await self._control.renew(courier.me):
                        return
                    courier.renewed(asked_s)
                    logger().warning("incarnation_renewed", incarnation=courier.me, vendor=self._name)

    async def _follow_plan(self) -> None:
        while True:
            with contextlib.suppress(UnavailableError):
                await self._read_plan()
                read_s = self._clock.now_s()
                async with contextlib.aclosing(self._control.listen(("plan",))) as messages:
                    async for heard in messages:
                        if heard is not None:
                            self._adopt(Plan.from_dict(heard.body))
                        if self._clock.now_s() - read_s > 2.0:  # pub/sub forgets; the key does not
                            read_s = self._clock.now_s()
                            await self._read_plan()
            await self._clock.sleep(relisten_s(self._chance()))

    async def _read_plan(self) -> None:
        asked_with = self._courier.plan
        plan = await self._control.plan()
        if plan is not None:
            self._adopt(plan, asked_with)

    def _adopt(self, plan: Plan, asked_with: Plan | None = None) -> None:
        before = self._courier.plan
        self._courier.adopt_plan(plan, asked_with)
        self._obey_operator()
        self._hurry()
        if self._courier.plan is before:
            return
        entry = plan.vendors.get(self._name)
        if entry is not None:
            self._wish = entry.replicas
            if entry.state == "open" and self._courier.breaker.state is BreakerState.CLOSED:
                # Judged by all replicas' evidence together; mine alone was not enough.
                self._courier.gate.open_by_plan(self._config.breaker.open_wait_s)
                self._changed.set()
        # Wake the blocked claim: it waits on the lanes of the plan before.
        self._waking = asyncio.ensure_future(self._wake())

    def _obey_operator(self) -> None:
        """While `close` holds, the breaker counts and judges nothing; when it ends, it begins anew, closed.

        Looked at again and again, not only with a new plan: a breaker restored from before the word would open again.
        """
        entry, breaker = self._courier.plan.vendors.get(self._name), self._courier.breaker
        told = entry is not None and entry.override == "close"
        if told == (breaker.state is BreakerState.METRICS_ONLY):
            return
        breaker.force(BreakerState.METRICS_ONLY if told else BreakerState.CLOSED, self._now_ns())
        self._changed.set()

    def _hurry(self) -> None:
        """Try again soon while the plan says that work waits and nobody else can do it. Each new wait is shortened."""
        entry = self._courier.plan.vendors.get(self._name)
        if entry is not None and entry.probe_within_s is not None:
            self._courier.breaker.hasten(int(entry.probe_within_s * 1e9), self._now_ns())

    async def _wake(self) -> None:
        with contextlib.suppress(UnavailableError):
            await self._store.wake()

    async def _beat(self) -> None:
        period_s = self._settings.supervision.beat_ms / 1000
        while True:
            if self._courier.me:
                with contextlib.suppress(UnavailableError):
                    await self._control.beat(
                        Beat(
                            self._courier.me,
                            self._name,
                            self._identity.get("replica", ""),
                            self._identity.get("pid", 0),
                            self._identity.get("node", ""),
                        )
                    )
                    self._courier.replied()
            await asyncio.sleep(period_s)

    async def _watch_progress(self) -> None:
        """Beats come from a loop of their own: a courier that is stuck would look alive for ever.

        One that cannot settle is only told of: a successor would not know the outcomes, and send again.
        """
        courier, patience_s = self._courier, self._settings.courier.stuck_s
        progress, settling, told = Progress(patience_s), Progress(patience_s), False
        while True:
            await self._clock.sleep(patience_s / 6)
            unsettled = settling.look(courier.settled, courier.is_unsettled(), self._clock.now_s())
            if unsettled and not told:
                logger().error("outcomes_unsettled", count=len(courier.outbox), vendor=self._name, seconds=patience_s)
            told = unsettled
            waits = False
            if courier.me and not courier.stopping and courier.could_work():
                with contextlib.suppress(UnavailableError):
                    depths = await self._control.depths()
                    waits = any(depths[box].unclaimed for box in courier.mailboxes() if box in depths)
            if progress.look(courier.done, waits and courier.could_work(), self._clock.now_s()) and not self._stuck:
                self._stuck = f"{courier.me}: work waits, and none of it was begun for {patience_s:g} s"
                logger().error("courier_stuck", incarnation=courier.me, vendor=self._name, seconds=patience_s)

    async def _report(self) -> None:
        period_s = self._settings.supervision.report_ms / 1000
        while True:
            await rung(self._changed, period_s)
            self._changed.clear()
            self._obey_operator()
            self._hurry()
            self._count_transitions()
            if self._courier.me:
                with contextlib.suppress(UnavailableError):
                    await self._control.report(self._statement())
                    if self._courier.breaker.generation != self._remembered:
                        await self._remember()

    async def _remember(self) -> None:
        """Write what the breaker is, at each change and at a clean end: a write of every report would slow accepts."""
        breaker, me = self._courier.breaker, self._courier.me
        generation, was = breaker.generation, breaker.snapshot(self._now_ns())
        await self._control.remember(self._name, {"incarnation": me, "breaker": was.to_dict()})
        self._remembered = generation

    # ---- values

    def _now_ns(self) -> int:
        return int(self._clock.now_s() * 1e9)

    def _statement(self) -> dict[str, Any]:
        courier, breaker = self._courier, self._courier.breaker
        metrics = breaker.metrics(self._now_ns())
        calls_per_s, latency_s = courier.delivery.throughput.read(self._clock.now_s())
        return {
            "process": f"{self._name}-{self._identity.get('replica', '')}",
            "incarnation": courier.me,
            "vendor": self._name,
            "epoch": courier.plan.epoch,
            "office": courier.plan.office,
            "breaker": breaker.state.value,
            "retry_after_s": round(metrics.retry_after_ns / 1e9, 3),
            "attempts": metrics.attempts,
            "reason": "" if breaker.state is BreakerState.CLOSED else self._reason,
            "window": {"n": metrics.buffered, "failed": metrics.failed, "slow": metrics.slow},
            "evidence": courier.gate.evidence(),
            "contradicted": courier.delivery.contradictions.counts(self._now_ns()),
            "unreached": courier.gate.unreached,
            "cut_off": {
                country: {"state": found.state.value, "for_s": round(found.for_s, 1)}
                for country, found in courier.gate.cut_off().items()
            },
            "in_flight": courier.in_flight,
            "concurrency": courier.gate.concurrency.value,
            "calls_per_s": round(calls_per_s, 2),
            "latency_s": round(latency_s, 4),
            "replica": self._identity.get("replica", ""),
            "pid": self._identity.get("pid", 0),
            "node": self._identity.get("node", ""),
            "version": VERSION,
            "metrics": self._metrics.snapshot(),
        }

    def _count_transitions(self) -> None:
        for event in self._courier.breaker.drain_events():
            if event.to is not None:
                self._reason = event.reason
                self._metrics.count("dispatcher_transitions", self._name, event.to.value)
                logger().warning("breaker_changed", vendor=self._name, state=event.to.value, reason=event.reason)

        keys = self._courier.gate.keys
        for change in keys.drain_changes() if keys is not None else ():
            log = logger().warning if change.to is BreakerState.OPEN else logger().info
            log("country_changed", vendor=self._name, country=change.key, state=change.to.value, reason=change.reason)

    def _breaker(self) -> Breaker:
        config = breaker_config(self._config.breaker, self._config.timeout_s)
        return Breaker(config, self._now_ns(), self._chance)
