"""Checks takes: what dead incarnations left is sent before what is queued, and within the permits of the vendor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.core.life.choices import PRIORITIES
from dispatcher.core.life.notification import Lane
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.life.rendered_message import Message
from dispatcher.deliver.courier import CourierLimits
from dispatcher.ports import Claims
from tests.unit.stage import FaultyStore, ScriptedVendor, Stage, plan_of, tend
from tests.virtual import until, virtual


class WatchedVendor(ScriptedVendor):
    """A vendor that notes how many calls were in flight at the start of each call."""

    def __init__(self, name: str, outcomes: Sequence[Outcome] = (), duration_s: float = 0.02) -> None:
        super().__init__(name, outcomes, duration_s)
        self.in_flight, self.crowd = 0, list[int]()

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        self.in_flight += 1
        self.crowd.append(self.in_flight)
        try:
            return await super().send(message, timeout_s)
        finally:
            self.in_flight -= 1


async def left(stage: Stage, actors: int, each: int, priorities: Sequence[str] = PRIORITIES) -> list[str]:
    """Let this many actors of vendor a claim `each` notifications of each priority and end. Return the ids of these."""
    ids = []
    for _ in range(actors):
        me = await stage.control.register("a")
        for priority in priorities:
            await stage.accept(each, priority=priority)
            got = await MemoryStore(stage.cell).claim(me, [Lane("a", priority)], each)
            ids += [claim.notification.id for claim in got.claims]
        await stage.control.stopped(me)
    return ids


@virtual
async def test_what_the_dead_left_keeps_the_rate_and_goes_first() -> None:
    """Three actors have died with claims in three lanes, and a backlog waits. The contract rate is five a second.

    At most six calls begin within any second, and all claims of the dead are sent before the rest of the backlog.
    """
    stage, a = Stage(), ScriptedVendor("a")
    old = await left(stage, actors=3, each=2)
    await stage.accept(40, priority="high")
    courier = await stage.courier(a)
    courier.gate.bucket.set_rate(5.0, stage.clock.now_s())
    stage.start(tend(stage, courier, take_s=0.1).run())
    await until(lambda: len(a.sent) == 58)
    for n, first_s in enumerate(a.times_s):
        assert sum(first_s <= at_s < first_s + 1.0 for at_s in a.times_s[n:]) <= 6
    assert set(old) <= set(a.ids[: len(old) + 3])


@virtual
async def test_what_the_dead_left_keeps_the_calls_at_once() -> None:
    """An actor may make four calls at once, and its vendor is slow. Two other actors have died with claims, and a
    backlog waits.

    At no time are more than four calls in flight. All claims of the dead are sent before the rest of the backlog.
    """
    stage, a = Stage(), WatchedVendor("a", duration_s=2.0)
    courier = await stage.courier(a, limits=CourierLimits(concurrency_min=4, concurrency_max=4))
    await stage.accept(20, priority="high")
    await until(lambda: len(a.sent) == 4)
    old = await left(stage, actors=2, each=2)
    stage.start(tend(stage, courier).run())
    await until(lambda: len(a.sent) == 32)
    assert max(a.crowd) == 4
    assert set(old) <= set(a.ids[4 : 4 + len(old) + 4])


@virtual
async def test_bulk_that_the_dead_left_leaves_room_for_a_code() -> None:
    """A dead actor had eight bulk messages, and bulk may use three of four calls. Three of the eight are sent together,
    and an urgent message is sent beside them without a wait.
    """
    stage, a = Stage(), WatchedVendor("a", duration_s=5.0)
    await left(stage, actors=1, each=8, priorities=["bulk"])
    courier = await stage.courier(a, limits=CourierLimits(concurrency_min=4, concurrency_max=4))
    stage.start(tend(stage, courier).run())
    await asyncio.sleep(1.0)
    assert a.in_flight == 3
    (code,) = await stage.accept(1, priority="high")
    await until(lambda: code in a.ids, 1.0)
    await until(lambda: len(a.sent) == 9)
    assert max(a.crowd) == 4


@virtual
async def test_what_the_dead_left_waits_until_a_pause_is_over() -> None:
    """A vendor asks for a pause of a second. What a dead actor left is sent after the pause and not within it."""
    stage, a = Stage(), ScriptedVendor("a", [Outcome.throttled("busy", 1.0)])
    courier = await stage.courier(a)
    stage.start(tend(stage, courier, take_s=0.1, due_s=60.0).run())
    await stage.accept(1)
    await until(lambda: len(a.sent) == 1)
    await left(stage, actors=1, each=1)
    await until(lambda: len(a.sent) == 4)
    assert a.times_s[1] - a.times_s[0] >= 1.0


@virtual
async def test_what_the_dead_left_is_handed_on_while_the_breaker_is_open() -> None:
    """The breaker of vendor a is open, so that no call may begin. What a dead actor of this vendor left moves to vendor
    b, and a is not called.
    """
    stage, a = Stage(), ScriptedVendor("a")
    old = await left(stage, actors=2, each=2)
    courier = await stage.courier(a)
    courier.adopt_plan(plan_of(a="half_open", b="closed"))  # with which it still drains its mailbox
    courier.breaker.force_open_for(int(60e9), int(stage.clock.now_s() * 1e9), "a test")
    await tend(stage, courier).take()
    await until(lambda: {stage.cell.found(nid)[1].vendor for nid in old} == {"b"}, 1.0)
    assert a.sent == []


@pytest.mark.parametrize("begins", ["claim", "take"])
@virtual
async def test_a_claim_and_a_take_do_not_use_the_same_permit(begins: str) -> None:
    """Four calls may begin, and the store is slow to answer a claim, or a take. Meanwhile no entries are asked for that
    would use the same permits. So at most four calls are in flight.
    """

    class Slow(FaultyStore):
        async def _slowly(self, name: str, *args: object) -> Claims:
            got: Claims = await getattr(self._store, name)(*args)
            await asyncio.sleep(0.4 if name == begins else 0.0)
            return got

        async def claim(self, *args: object) -> Claims:
            return await self._slowly("claim", *args)

        async def take(self, *args: object) -> Claims:
            return await self._slowly("take", *args)

    stage, a = Stage(), WatchedVendor("a", duration_s=0.7)
    store = Slow(MemoryStore(stage.cell))
    await left(stage, actors=1, each=4, priorities=["high"])
    if begins == "claim":
        await stage.accept(4, priority="high")
    courier = await stage.courier(a, store=store, limits=CourierLimits(concurrency_min=4, concurrency_max=4))
    await asyncio.sleep(0.01)
    taking = stage.start(tend(stage, courier, store).take())
    await asyncio.sleep(0.1)
    if begins == "take":
        await stage.accept(4, priority="high")
    await until(lambda: len(a.sent) == 8, 5.0)
    assert taking.done() and max(a.crowd) == 4


@virtual
async def test_a_take_whose_reply_was_lost_is_found_soon() -> None:
    """The store's reply to a take is lost. The actor looks at once for claims that it does not know, and sends them."""
    stage, a = Stage(), ScriptedVendor("a")
    store = FaultyStore(MemoryStore(stage.cell))
    store.lose = ["take"]
    (nid,) = await left(stage, actors=1, each=1, priorities=["normal"])
    courier = await stage.courier(a, store=store)
    stage.start(tend(stage, courier, store, take_s=0.2, audit_s=30.0).run())
    await until(lambda: stage.state(nid) == "settled", 2.0)
    assert a.ids == [nid]
