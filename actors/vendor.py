"""The vendor actor: the client of one vendor, and a drainer for each cell, which has one incarnation at a time.

The actor keeps no data that must survive a crash. Such data is written to Redis before anybody is told about it. If the
actor crashes, its notifications stay claimed by its incarnation. The supervisor declares the incarnation dead, and
another actor that drains the mailbox takes the notifications.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from actors.drainer import Drainer, Links
from actors.runtime import CellRedis, Tasks, cells_of, leave_if_asked, told_cores
from dispatcher.adapters.cores import Cores
from dispatcher.adapters.providers import build
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.config.secret_references import resolve_options
from dispatcher.config.settings import Settings, VendorSettings, parse_settings
from dispatcher.core.json_object import JsonObject
from dispatcher.core.plan.identity import Identity
from dispatcher.deliver.courier import Courier
from dispatcher.deliver.plan_duties import PlanDuties
from dispatcher.deliver.surroundings import Surroundings
from dispatcher.ports import Clock, Control, Store, Vendor
from dispatcher.telemetry.log import configure
from dispatcher.telemetry.metrics import Metrics


class VendorActor:
    """One replica of a vendor's pool. It starts, stops and checks the drainers of all cells."""

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
        self._drainers: list[Drainer] = []
        self._closes: list[Callable[[], Awaitable[None]]] = []
        self._cores: Cores | None = None  # None in a simulation, which does not measure this machine

    async def start(self) -> None:
        self._open()
        self._drain(Surroundings(self._store, self._templates, self._clock, self._metrics, self._chance), self._control)
        for cell in cells_of(self._runtime, self._settings)[1:] if self._settings.store.cells else ():
            links = self._links(cell)
            self._closes.append(links.close)
            around = Surroundings(links.store, links.templates, self._clock, Metrics(), self._chance)
            self._drain(around, links.control, f" of cell {cell.cell}")
        await asyncio.sleep(0)

    def _open(self) -> None:
        """Make the clients for the first cell's Redis.

        A simulation replaces this method alone, and runs all other code of the actor.
        """
        configure()
        self._clock: Clock = SystemClock()
        self._cores = Cores()
        self._chance: Callable[[], float] = random.random
        links = self._links(cells_of(self._runtime, self._settings)[0])
        self._store: Store = links.store
        self._control: Control = links.control
        self._templates = links.templates
        self._close: Callable[[], Awaitable[None]] = links.close

    def _links(self, cell: CellRedis) -> Links:
        links = Links.open(cell, self._settings, self._name)
        if links.replicated is not None:
            self._tasks.start("replicas", links.replicated.watch())
        return links

    def _drain(self, around: Surroundings, control: Control, cell: str = "") -> None:
        drainer = Drainer(
            *(self._settings, self._vendor, around, control),
            identity=self._identity,
            told_cores=lambda: told_cores(self._cores, self._clock.now_s()),
        )
        drainer.start(self._tasks, cell)
        self._drainers.append(drainer)

    @property
    def _courier(self) -> Courier:
        return self._drainers[0].courier

    @property
    def _duties(self) -> PlanDuties:
        return self._drainers[0].duties

    def check(self) -> None:
        """Raise RuntimeError if Serve must replace this actor.

        Serve must replace it if a loop has ended, if nothing is done although there is work, or if the plan moves the
        actor to another machine. A Redis that does not answer ends no loop. Only the first cell's plan moves actors.
        """
        self._tasks.check()
        for drainer in self._drainers:
            drainer.check()
        leave_if_asked(self._drainers[0].plan, self._identity)

    def statistics(self) -> dict[str, float]:
        """Return how many actors the plans want in this vendor's pool: the largest wish of all cells.

        Serve's autoscaler reads this figure.
        """
        return {"replicas": float(max(drainer.duties.wish for drainer in self._drainers))}

    async def stop(self, deadline_s: float) -> None:
        """Stop claiming, finish running calls, store their outcomes, and end the incarnations, in all cells at once.

        `deadline_s` limits the time in seconds. If claims are left unfinished after it, other actors take them at once.
        """
        await asyncio.gather(*(drainer.finish(deadline_s) for drainer in self._drainers))
        await self._tasks.stop()
        await self._vendor.close()
        await asyncio.gather(self._close(), *(close() for close in self._closes))
