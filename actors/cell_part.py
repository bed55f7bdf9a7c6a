"""The part of an intake replica that accepts triggers for one cell. A replica has one for each cell.

The parts share only the event loop and the vendors' settings. If the Redis of one part does not answer, the others go
on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping

from actors.assembly import part, template_sources
from actors.bind_use_cases import Bound, bind_use_cases
from actors.runtime import CellRedis, Tasks
from dispatcher.accept.intake import Intake
from dispatcher.accept.statements import Statements
from dispatcher.accept.store_watch import StoreBreaks, StoreWatch
from dispatcher.adapters.redis.cells import RedisCellMember
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.adapters.redis.templates import RedisTemplateStore
from dispatcher.adapters.redis.views import RedisViews
from dispatcher.config.settings import Settings
from dispatcher.core.cells.names import FIRST_CELL
from dispatcher.core.plan.stall import StallWatch
from dispatcher.operate.fleet import Fleet
from dispatcher.operate.probes import Replica, Watches
from dispatcher.operate.stalls import Stalls
from dispatcher.operate.use_cases import UseCases
from dispatcher.ports import Clock
from dispatcher.supervise.plan_follower import PlanFollower
from dispatcher.telemetry.metrics import Metrics
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.copying import TemplateCopying
from dispatcher.templates.seeding import TemplateSeeding


class CellPart:
    """The store, the intake, the watches and the use cases of one cell. `start` begins the loops."""

    use_cases: UseCases
    intake: Intake

    def __init__(self, settings: Settings, clock: Clock, metrics: Metrics) -> None:
        """Prepare. Nothing is opened yet. `metrics` are reported to this cell alone."""
        self._settings, self._clock, self.metrics = settings, clock, metrics
        self.breaks = StoreBreaks(metrics, clock, lambda: self._templates.store_broke())
        self.fleet = Fleet(clock, self.breaks.continuity)

    def open(self, redis: CellRedis) -> None:
        """Make the clients for the Redis of this cell."""
        s, keys, breaks = self._settings, redis.keys, self.breaks
        self.cell = redis.cell
        retention_ms = s.retention.finished_s * 1000
        self._redis = redis.open(timeout_s=s.limits.accept_deadline_s)
        # A client of its own, so that an operator's long listing or many repeated keys take no connection from accepts.
        self._asking = redis.open(queues_s=2.0)
        # Less than the whole deadline, so that the answer names the missing replica, and not a slow store.
        answer_s = s.limits.accept_deadline_s * 0.75
        self._replicated = redis.open_replicated(s, self._redis, answer_s=answer_s)
        self.store = RedisStore(
            self._redis,
            None,
            keys,
            retention_ms=retention_ms,
            replicated=self._replicated,
            continuity=breaks.continuity,
            on_break=breaks.tell,
        )
        self._control = RedisControl(self._asking, keys)
        self._views = RedisViews(self._asking, keys, retention_ms=retention_ms)
        self.template_store = RedisTemplateStore(self._asking, keys.prefix)
        self.member = RedisCellMember(self._asking, redis.cell, self._replicated)

    def start(
        self,
        tasks: Tasks,
        first: CellPart,
        replica: Replica,
        told_cores: Callable[[], Mapping[str, float]],
        *,
        cells: Callable[[], int],
    ) -> None:
        """Make the intake and its use cases, and start all loops in `tasks`. `first` is the part of the first cell.

        `cells` is explained in `Statements`.
        """
        s, control, clock = self._settings, self._control, self._clock
        cache = TemplateCache(self.template_store)
        self.intake = intake = Intake(
            *(s, self.store, self._views, cache), clock=clock, metrics=self.metrics, cell=self.cell
        )
        sources = template_sources(s)
        self._templates: TemplateSeeding | TemplateCopying = (
            TemplateSeeding(cache, sources) if first is self else TemplateCopying(cache, first.template_store, sources)
        )
        watches = self._watches()
        self.watch = watches.store
        bound = Bound(self._asking, self.store, self._views, control, cache, clock, self.metrics, self.cell)
        self.use_cases = bind_use_cases(s, intake, watches, bound, replica=replica)
        self._report(told_cores, cells, replica)
        self._start_loops(tasks)

    def _watches(self) -> Watches:
        s, control, intake, clock = self._settings, self._control, self.intake, self._clock
        channels = {name: v.channel for name, v in s.vendors.items()}
        stall_watch = StallWatch(
            channels, {name: part(v.rate_per_s, len(s.store.cell_names)) for name, v in s.vendors.items()}
        )
        stalls = Stalls(stall_watch, self.fleet, lambda: intake.plan, clock)
        watch = StoreWatch(
            *(control, control, intake, self.breaks),
            clock=clock,
            queued_max=s.limits.queued_max_per_vendor,
            weights={tenant: share.weight for tenant, share in s.tenants.items()},
            looked=stalls.look,
        )
        return Watches(watch, self.breaks, self.fleet, stalls, self._replicated)

    def _report(
        self, told_cores: Callable[[], Mapping[str, float]], cells: Callable[[], int], replica: Replica
    ) -> None:
        receipts = self.use_cases.receipts
        refused = getattr(receipts, "refused", dict)
        self.statements = Statements(
            *(self._control, self.metrics, self.breaks.continuity, replica.identity),
            told_cores=told_cores,
            refused=refused,
            cells=cells,
        )

    def _start_loops(self, tasks: Tasks) -> None:
        intake, clock = self.intake, self._clock
        cell = "" if self.cell == FIRST_CELL else f" of cell {self.cell}"
        follower = PlanFollower(
            *(self._control, clock, random.random),
            current=lambda: intake.plan,
            adopt=intake.adopt,
            others=("totals", "report"),
            hear=self.fleet.hear,
        )
        tasks.start(f"group commit{cell}", intake.run())
        tasks.start(f"templates{cell}", self._templates.run())
        tasks.start(f"control{cell}", follower.run())
        tasks.start(f"headroom{cell}", self.watch.run())
        tasks.start(f"lineage{cell}", self.watch.follow_lineage())
        if self._replicated is not None:
            tasks.start(f"replicas{cell}", self._replicated.watch())
        tasks.start(f"report{cell}", self.statements.run(clock, self._settings.supervision.report_ms / 1000))

    async def close(self) -> None:
        """Close the clients."""
        if self._replicated is not None:
            await self._replicated.close()
        await asyncio.gather(self._redis.aclose(), self._asking.aclose())
