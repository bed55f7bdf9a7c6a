"""A vendor actor drains several cells, and a cell that is away stops no other one."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

import pytest

from actors.assembly import make_look_ups
from actors.drainer import Links
from actors.runtime import CellRedis
from actors.vendor import VendorActor
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.config.settings import parse_settings
from dispatcher.core.life.look_up import Listing
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.plan.messages import Message
from dispatcher.core.plan.values import Report
from dispatcher.deliver.surroundings import Surroundings
from dispatcher.errors import UnavailableError
from dispatcher.templates.cache import TemplateCache
from tests.unit.stage import FaultyStore, ScriptedVendor, Stage, plan_of
from tests.unit.vendor_actors import OneActor
from tests.virtual import until, virtual

SETTINGS: dict[str, Any] = {
    "vendors": {"a": {"adapter": "twilio", "channel": "sms", "breaker": {"consecutive_failures": 3}}},
    "routes": [{"channel": "sms", "chain": ["a"]}],
    "store": {"cells": ["file:/cell-1"]},
}


class FaultyControl:
    """The control of a stage, whose calls fail while its store is away."""

    def __init__(self, stage: Stage, store: FaultyStore) -> None:
        self._control, self._store = stage.control, store

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._control, name)

        async def call(*args: Any) -> Any:
            if self._store.away:
                raise UnavailableError("away")
            return await method(*args)

        return method if name == "listen" else call


class AskableVendor(ScriptedVendor):
    """A vendor that can be asked what it has. It is never asked here."""

    async def look_up(self, *_: Any) -> Listing | None:
        raise AssertionError


class TwoCells(OneActor):
    """The only actor of the only vendor over two cells. The second cell can be away."""

    def __init__(self, vendor: ScriptedVendor) -> None:
        with mock.patch("actors.vendor.build", lambda *_: vendor):
            VendorActor.__init__(self, SETTINGS, "a", {"redis_url": "file:/cell-0"}, {"replica": "r"})
        self.stage, self.second = Stage(), Stage()
        self.faulty = FaultyStore(MemoryStore(self.second.cell))
        self.closed: list[str] = []
        for stage in (self.stage, self.second):
            stage.cell.plan = plan_of(a="closed")

    def _links(self, cell: CellRedis) -> Links:
        async def close() -> None:
            self.closed.append(cell.cell)

        control: Any = FaultyControl(self.second, self.faulty)
        return Links(self.faulty, control, TemplateCache(self.second.template_store), close)  # type: ignore[arg-type]


@virtual
async def test_all_cells_are_drained() -> None:
    """Each cell has its own incarnation, and all of them send by the one vendor."""
    vendor = ScriptedVendor("a")
    actor = TwoCells(vendor)
    await actor.start()
    first, second = await actor.stage.accept(2), await actor.second.accept(3)
    await until(lambda: len(vendor.sent) == 5, 5.0)
    await until(lambda: set(actor.stage.states() + actor.second.states()) == {"settled"}, 5.0)
    assert len(first) + len(second) == 5
    assert len(actor.stage.cell.actors) == len(actor.second.cell.actors) == 1


@virtual
async def test_a_cell_that_is_away_stops_no_other_one() -> None:
    """The second cell does not answer. The first goes on, and the actor stays. When the cell is back, it is drained."""
    vendor = ScriptedVendor("a")
    actor = TwoCells(vendor)
    await actor.start()
    await actor.second.accept(1)
    await until(lambda: len(vendor.sent) == 1, 5.0)
    actor.faulty.away = True
    waiting = await actor.second.accept(1)
    await actor.stage.accept(20)
    await until(lambda: len(vendor.sent) == 21, 5.0)
    await asyncio.sleep(60.0)
    actor.check()
    assert actor.second.state(waiting[0]) == "queued"
    actor.faulty.away = False
    await until(lambda: actor.second.state(waiting[0]) == "settled", 10.0)


@virtual
async def test_a_breaker_opens_in_each_cell_by_itself() -> None:
    vendor = ScriptedVendor("a")
    vendor.then = Outcome.failed("http_503")
    actor = TwoCells(vendor)
    await actor.start()
    await actor.second.accept(5)
    await until(lambda: actor._drainers[1].courier.breaker.state.value == "open", 10.0)
    assert actor._drainers[0].courier.breaker.state.value == "closed"


@virtual
async def test_the_largest_wish_of_a_cell_decides_the_size_of_the_pool() -> None:
    actor = TwoCells(ScriptedVendor("a"))
    await actor.start()
    actor._drainers[1].duties.wish = 3
    assert actor.statistics() == {"replicas": 3.0}


@virtual
async def test_a_stop_finishes_all_cells_also_if_one_is_away() -> None:
    """The incarnation of the cell that answers ends, and all clients are closed."""
    actor = TwoCells(ScriptedVendor("a"))
    await actor.start()
    await until(lambda: actor.stage.cell.actors and actor.second.cell.actors, 5.0)
    actor.faulty.away = True
    await actor.stop(8.0)
    assert set(actor.stage.cell.actors.values()) == {"stopped"}
    assert set(actor.second.cell.actors.values()) == {"live"}
    assert actor.closed == ["1"]


@virtual
async def test_an_actor_reports_how_many_cells_it_drains() -> None:
    actor, heard = TwoCells(ScriptedVendor("a")), list[Message]()

    async def listen() -> None:
        async for message in actor.stage.control.listen(("report",)):
            if message is not None:
                heard.append(message)

    actor.stage.start(listen())
    await actor.start()
    await until(lambda: heard, 5.0)
    assert isinstance(heard[0], Report) and heard[0].cells == 2


@pytest.mark.parametrize(("cells", "asks"), [([], True), (["file:/cell-1"], False)])
@virtual
async def test_with_several_cells_no_vendor_is_asked_what_it_has(cells: list[str], asks: bool) -> None:
    """A held message could have a twin in another cell, which would be taken for it. So it waits for its receipt."""
    stage, vendor = Stage(), AskableVendor("a")
    courier = await stage.courier(vendor)
    around = Surroundings(
        MemoryStore(stage.cell), TemplateCache(stage.template_store), stage.clock, stage.metrics, lambda: 0.5
    )
    settings = parse_settings({**SETTINGS, "store": {"cells": cells}})
    assert (make_look_ups(settings, courier, vendor, around) is not None) == asks
