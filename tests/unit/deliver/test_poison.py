"""Checks a message that kills its actor: it becomes a dead letter, and everything that was claimed beside it is
delivered.
"""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.core.life.decide import ALONE_FROM
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.life.rendered_message import Message
from dispatcher.deliver.courier import Courier, CourierLimits
from dispatcher.deliver.maintenance import Caretaker
from tests.unit.stage import FaultyStore, ScriptedVendor, Stage, suspected
from tests.virtual import until, virtual


class DeadlyVendor(ScriptedVendor):
    """A vendor that notes at each call which calls were in flight together, and which notification the store had marked
    as sent alone.

    The call for the notification `deadly` does not return for an hour.
    """

    def __init__(self, stage: Stage, deadly: str = "") -> None:
        super().__init__("a")
        self.stage, self.deadly = stage, deadly
        self.killed = asyncio.Event()
        self.in_flight: set[str] = set()
        self.together: list[set[str]] = []
        self.singled: dict[str, str | None] = {}

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        nid = message.notification_id
        self.in_flight.add(nid)
        self.together.append(set(self.in_flight))
        self.singled[nid] = next(iter(self.stage.cell.singled.values()), None)
        if nid == self.deadly:
            self.killed.set()
            await asyncio.sleep(3600.0)
        try:
            return await super().send(message, timeout_s)
        finally:
            self.in_flight.discard(nid)


async def die(stage: Stage, courier: Courier) -> None:
    """End an actor as a killed process ends: cancel all its tasks, and mark its incarnation dead in the store."""
    for task in [*stage.tasks, *courier._calls]:
        task.cancel()
    await asyncio.wait([*stage.tasks, *courier._calls])
    stage.tasks.clear()
    stage.cell.actors[courier.me] = "dead"


async def take(stage: Stage, courier: Courier) -> None:
    await Caretaker(courier, MemoryStore(stage.cell), stage.clock, frozenset("a")).take()


@virtual
async def test_a_poison_ends_alone() -> None:
    """A message that kills each actor becomes a dead letter when the fourth actor takes it over, and its 19
    neighbours are delivered.
    """
    stage = Stage()
    ids = await stage.accept(20)
    poison, lives = ids[10], 0
    while stage.state(poison) != "dead":
        lives += 1
        vendor = DeadlyVendor(stage, poison)
        courier = await stage.courier(vendor, limits=CourierLimits(settle_interval_s=3600.0))
        await take(stage, courier)
        await asyncio.wait([asyncio.ensure_future(vendor.killed.wait())], timeout=2.0)
        if vendor.killed.is_set():
            await die(stage, courier)
    assert lives == 4
    await until(lambda: stage.states().count("settled") == 19)
    assert stage.cell.found(poison)[1].reason == "poison"


@virtual
async def test_a_suspect_has_nothing_beside_it_and_is_named() -> None:
    """Some notifications are suspected of killing an actor. Each is sent while no other call is in flight.

    Meanwhile the store has a mark that names it. After that, the other notifications are sent together.
    """
    stage = Stage()
    vendor = DeadlyVendor(stage)
    before = await stage.accept(3)
    courier = await stage.courier(vendor)
    await until(lambda: len(vendor.in_flight) == 3)
    ids = await stage.accept(6)
    suspects = ids[1:4]
    suspected(stage, suspects)
    await until(lambda: stage.states().count("settled") == 9)
    for together in vendor.together:
        assert len(together) == 1 or not together & set(suspects)
    assert {nid: vendor.singled[nid] for nid in [*before, *ids]} == {
        nid: nid if nid in suspects else None for nid in [*before, *ids]
    }
    assert set(ids) - set(suspects) in vendor.together
    assert (stage.cell.singled, courier.known()) == ({}, set())


@virtual
async def test_one_crash_is_not_worth_a_procession() -> None:
    """Several notifications were in flight at a single crash. They are sent together by the next actor, and not one by
    one.
    """
    stage = Stage()
    vendor = DeadlyVendor(stage)
    ids = await stage.accept(5)
    suspected(stage, ids, ALONE_FROM - 1)
    await stage.courier(vendor)
    await until(lambda: stage.states().count("settled") == 5)
    assert vendor.together[-1] == set(ids)


@pytest.mark.parametrize("fault", ["away", "lost"])
@virtual
async def test_without_the_mark_no_suspect_is_sent(fault: str) -> None:
    """A notification is suspected of crashing its actors, so it is sent alone, and a mark in the store says so.

    It is not sent before the store has confirmed the mark. When the store answers again, it is sent.
    """
    stage = Stage()
    vendor = DeadlyVendor(stage)
    store = FaultyStore(MemoryStore(stage.cell))
    courier = await stage.courier(vendor, store=store)
    ids = await stage.accept(3)
    suspected(stage, ids)
    got = await store.claim(courier.me, courier.lanes(), 3)
    if fault == "away":
        store.away = True
    else:
        store.lose = ["single_out", "single_out"]
    await courier.admit(courier.me, got)
    await asyncio.sleep(0.05)
    assert vendor.sent == []
    store.away = False
    await until(lambda: stage.states().count("settled") == 3)
    assert all(vendor.singled[nid] == nid for nid in ids)


@virtual
async def test_little_is_claimed_meanwhile() -> None:
    """While a suspected notification is alone in flight, the courier claims at most 8 others, and leaves the rest
    to other actors.
    """
    stage = Stage()
    vendor = DeadlyVendor(stage)
    vendor.duration_s = 2.0
    suspected(stage, await stage.accept(1))
    courier = await stage.courier(vendor, limits=CourierLimits(concurrency_max=8))

    async def beats() -> (
        None
    ):  # as an actor beats; while a suspect is alone in flight, the courier asks the store nothing
        while True:
            courier.link.replied()
            await asyncio.sleep(0.25)

    stage.start(beats())
    await until(lambda: len(vendor.in_flight) == 1)
    await stage.accept(100)
    await asyncio.sleep(1.0)
    assert len(courier.known()) <= 8
    await until(lambda: stage.states().count("settled") == 101, 60.0)


@virtual
async def test_an_end_that_cannot_wait_leaves_the_others_too() -> None:
    """A courier ends, and the time to finish runs out. It keeps only the call in flight, and gives up its other
    claims.
    """
    stage = Stage()
    vendor = DeadlyVendor(stage)
    vendor.duration_s = 5.0
    ids = await stage.accept(4)
    suspected(stage, ids[:2])
    courier = await stage.courier(vendor)
    await until(lambda: len(vendor.in_flight) == 1)
    await courier.finish(0.1)
    assert len(courier.known()) == 1


@virtual
async def test_an_orderly_end_leaves_the_others_to_the_next() -> None:
    """When a courier finishes, the suspected call in flight ends and nothing else begins.

    The next actor delivers the rest, and no crash is counted.
    """
    stage = Stage()
    vendor = DeadlyVendor(stage)
    ids = await stage.accept(4)
    suspected(stage, ids[:2])
    courier = await stage.courier(vendor)
    await until(lambda: len(vendor.in_flight) == 1)
    await courier.finish(5.0)
    assert (len(vendor.sent), courier.known()) == (1, set())
    await stage.control.stopped(courier.me)
    other = await stage.courier(DeadlyVendor(stage))
    await take(stage, other)
    await until(lambda: stage.states().count("settled") == 4)
    assert [stage.cell.found(nid)[1].crashes for nid in ids] == [2, 2, 0, 0]
