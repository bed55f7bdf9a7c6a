"""The intake actor starts, stops and checks the accept path and the use cases of `dispatcher.operate`."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from actors.assembly import template_sources
from actors.bind_use_cases import Bound, bind_use_cases, replica_of
from actors.runtime import Tasks, leave_if_asked, open_redis, open_replicated, told_cores
from dispatcher.accept.intake import Intake
from dispatcher.accept.statements import Statements
from dispatcher.accept.store_watch import StoreBreaks, StoreWatch
from dispatcher.adapters.api_keys import ApiKeys
from dispatcher.adapters.cores import Cores
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.adapters.redis.templates import RedisTemplateStore
from dispatcher.adapters.redis.views import RedisViews
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.config.settings import Settings, parse_settings
from dispatcher.core.json_object import JsonObject
from dispatcher.core.plan.identity import Identity
from dispatcher.core.plan.stall import StallWatch
from dispatcher.operate.fleet import Fleet
from dispatcher.operate.probes import Watches
from dispatcher.operate.stalls import Stalls
from dispatcher.operate.use_cases import UseCases
from dispatcher.supervise.plan_follower import PlanFollower
from dispatcher.telemetry.log import configure
from dispatcher.telemetry.metrics import Metrics
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.seeding import TemplateSeeding

START_S_MAX = 60.0
"""The time in seconds after which intake may grow even if a vendor still has no actor."""


class IntakeActor:
    """One replica of intake. The replica knows the other processes only by their messages through Redis."""

    use_cases: UseCases

    def __init__(self, settings: JsonObject, runtime: dict[str, str], identity: Identity) -> None:
        """Check the settings. Nothing is connected: a Redis that is still loading must not fail a deployment."""
        self._settings: Settings = parse_settings(settings)
        self._runtime, self._identity = runtime, identity
        self._tasks, self._clock, self._cores = Tasks(), SystemClock(), Cores()
        self.metrics = Metrics()
        self._channels = {name: v.channel for name, v in self._settings.vendors.items()}
        self._breaks = StoreBreaks(self.metrics, self._clock, lambda: self._seeding.store_broke())
        self._fleet = Fleet(self._clock, self._breaks.continuity)
        self._began_s = self._clock.now_s()
        path = runtime.get("api_keys", "")
        self.keys = ApiKeys.load(Path(path), bool(runtime.get("keys_required"))) if path else None

    async def start(self) -> None:
        self._open()
        self._bind()
        await asyncio.sleep(0)

    def _open(self) -> None:
        configure()
        s, breaks = self._settings, self._breaks
        retention_ms = s.retention.finished_s * 1000
        self._redis = open_redis(self._runtime, timeout_s=s.limits.accept_deadline_s)
        # A client of its own, so that an operator's long listing or many repeated keys take no connection from accepts.
        self._asking = open_redis(self._runtime, queues_s=2.0)
        # Less than the whole deadline, so that the answer names the missing replica, and not a slow store.
        answer_s = s.limits.accept_deadline_s * 0.75
        self._replicated = open_replicated(self._runtime, s, self._redis, answer_s=answer_s)
        self._store = RedisStore(
            self._redis,
            retention_ms=retention_ms,
            replicated=self._replicated,
            continuity=breaks.continuity,
            on_break=breaks.tell,
        )
        self._control = RedisControl(self._asking)
        self._views = RedisViews(self._asking, retention_ms=retention_ms)

    def _bind(self) -> None:
        s, control, views, clock, fleet = self._settings, self._control, self._views, self._clock, self._fleet
        cache = TemplateCache(RedisTemplateStore(self._asking))
        self._intake = intake = Intake(s, self._store, views, cache, clock=clock, metrics=self.metrics)
        self._seeding = TemplateSeeding(cache, template_sources(s))
        stall_watch = StallWatch(self._channels, {name: v.rate_per_s for name, v in s.vendors.items()})
        stalls = Stalls(stall_watch, fleet, lambda: intake.plan, clock)
        watch = StoreWatch(
            *(control, control, intake, self._breaks),
            clock=clock,
            queued_max=s.limits.queued_max_per_vendor,
            weights={tenant: share.weight for tenant, share in s.tenants.items()},
            looked=stalls.look,
        )
        follower = PlanFollower(
            *(control, clock, random.random),
            current=lambda: intake.plan,
            adopt=intake.adopt,
            others=("totals", "report"),
            hear=fleet.hear,
        )
        continuity, identity = self._breaks.continuity, self._identity
        watches = Watches(watch, self._breaks, fleet, stalls, self._replicated)
        bound = Bound(self._asking, self._store, views, control, cache, clock, self.metrics)
        self.use_cases = bind_use_cases(s, intake, watches, bound, replica=replica_of(s, self._runtime, identity))
        receipts = self.use_cases.receipts
        refused = receipts.refused if receipts else dict
        self._statements = Statements(
            *(control, self.metrics, continuity, identity), told_cores=self._told_cores, refused=refused
        )
        self._tasks.start("group commit", intake.run())
        self._tasks.start("templates", self._seeding.run())
        self._tasks.start("control", follower.run())
        self._tasks.start("headroom", watch.run())
        self._tasks.start("lineage", watch.follow_lineage())
        if self._replicated is not None:
            self._tasks.start("replicas", self._replicated.watch())
        self._tasks.start("report", self._statements.run(clock, s.supervision.report_ms / 1000))

    def check(self) -> None:
        """Raise RuntimeError if a loop has ended, or if the plan moves this actor to another machine."""
        self._tasks.check()
        leave_if_asked(self._intake.plan, self._identity)

    def statistics(self) -> dict[str, float]:
        """Return the numbers that decide the size of the intake pool (`serve_app.autoscaling.intake_size`).

        Return an empty dict if nothing is measured yet.
        """
        found = self._told_cores()
        return {**found, "start_complete": float(self._start_complete())} if found else {}

    def _told_cores(self) -> dict[str, float]:
        return told_cores(self._cores, self._clock.now_s())

    def _start_complete(self) -> bool:
        """Return True if every vendor has an actor that reports, or if `START_S_MAX` seconds have passed since the
        start.
        """
        return self._fleet.manned() >= set(self._channels) or self._clock.now_s() - self._began_s > START_S_MAX

    async def stop(self, deadline_s: float) -> None:
        await self._statements.send()
        await self._tasks.stop()
        if self._replicated is not None:
            await self._replicated.close()
        await asyncio.gather(self._redis.aclose(), self._asking.aclose())
