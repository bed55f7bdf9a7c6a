"""The intake actor starts, stops and checks the accept path and the use cases of `dispatcher.operate`."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from pathlib import Path

from actors.bind_use_cases import replica_of
from actors.cell_part import CellPart
from actors.runtime import Tasks, cells_of, leave_if_asked, told_cores
from dispatcher.accept.membership_watch import MembershipWatch
from dispatcher.accept.router import CellIntake, Router
from dispatcher.accept.store_watch import StoreBreaks
from dispatcher.adapters.api_keys import ApiKeys
from dispatcher.adapters.cores import Cores
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.config.settings import Settings, parse_settings
from dispatcher.core.cells.names import FIRST_CELL
from dispatcher.core.json_object import JsonObject
from dispatcher.core.plan.identity import Identity
from dispatcher.operate.fleet import Fleet
from dispatcher.operate.over_cells.bind import over_cells
from dispatcher.operate.use_cases import UseCases
from dispatcher.telemetry.log import configure
from dispatcher.telemetry.metrics import Metrics

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
        self._parts = [
            CellPart(self._settings, self._clock, self.metrics if cell == FIRST_CELL else Metrics())
            for cell in self._settings.store.cell_names
        ]
        self._began_s = self._clock.now_s()
        path = runtime.get("api_keys", "")
        self.keys = ApiKeys.load(Path(path), bool(runtime.get("keys_required"))) if path else None

    async def start(self) -> None:
        configure()
        first, replica = self._parts[0], replica_of(self._settings, self._runtime, self._identity)
        for part, redis in zip(self._parts, cells_of(self._runtime, self._settings), strict=True):
            part.open(redis)
        for part in self._parts:
            part.start(self._tasks, first, replica, self._told_cores, cells=self._cells_started)
        self.use_cases = first.use_cases if len(self._parts) == 1 else self._over_cells()
        await asyncio.sleep(0)

    def _over_cells(self) -> UseCases:
        """Return the use cases over all cells, and start the loop that follows the number of cells in force."""
        answers = {part.cell: partial(getattr, part.watch, "answers") for part in self._parts}
        cells = {part.cell: CellIntake(part.intake, answers[part.cell]) for part in self._parts}
        router = Router(cells, self.metrics, random.random)
        members = [part.member for part in self._parts]
        self._tasks.start("cells", MembershipWatch(members, router, self._clock).run())
        return over_cells({part.cell: part.use_cases for part in self._parts}, answers, router)

    def _cells_started(self) -> int:
        """Return how many of the first cells have an intake that can accept triggers, at least one."""
        started = [part.intake.started for part in self._parts]
        return max(1, started.index(False) if False in started else len(started))

    @property
    def _store(self) -> RedisStore:
        return self._parts[0].store

    @property
    def _breaks(self) -> StoreBreaks:
        return self._parts[0].breaks

    @property
    def _fleet(self) -> Fleet:
        return self._parts[0].fleet

    def check(self) -> None:
        """Raise RuntimeError if a loop has ended, or if the plan moves this actor to another machine."""
        self._tasks.check()
        leave_if_asked(self._parts[0].intake.plan, self._identity)

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
        await asyncio.gather(*(part.statements.send() for part in self._parts))
        await self._tasks.stop()
        await asyncio.gather(*(part.close() for part in self._parts))
