"""Checks what limits a courier: the contract rate and its shares, and the concurrency that a slow vendor allows."""

from __future__ import annotations

import asyncio
import dataclasses

from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.breaker.values import BreakerSnapshot
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.life.rendered_message import Message
from dispatcher.core.plan.sharing import Share
from dispatcher.deliver.courier import CourierLimits
from tests.unit.deliver.couriers import FRAGILE
from tests.unit.stage import ScriptedVendor, Stage, plan_of, tend
from tests.virtual import until, virtual


@virtual
async def test_the_rate_is_kept() -> None:
    """At a rate of ten a second with a burst of one, at most eleven calls begin within any second."""
    stage, a = Stage(), ScriptedVendor("a")
    courier = await stage.courier(a)
    courier.gate.bucket.set_rate(10.0, stage.clock.now_s())
    await stage.accept(50)
    await until(lambda: len(a.sent) == 50)
    for n, first_s in enumerate(a.times_s):
        assert sum(first_s <= at_s < first_s + 1.0 for at_s in a.times_s[n:]) <= 11


@virtual
async def test_what_is_not_sent_costs_no_permit_of_the_contract() -> None:
    """Six hundred expired notifications wait, and the contract rate is ten a second. They use up no permit.

    So the next message is sent within five seconds.
    """
    stage, vendor = Stage(), ScriptedVendor("a")
    courier = await stage.courier(vendor, limits=CourierLimits(rate_per_s=10.0))
    courier.adopt_plan(plan_of(a="closed"))
    courier.gate.bucket.set_rate(10.0, stage.clock.now_s())
    await stage.accept(600, expires_ms=stage.clock.wall_ms() - 1)
    (fresh,) = await stage.accept()
    began_s = stage.clock.now_s()
    await until(lambda: stage.state(fresh) == "settled", 70)
    assert stage.clock.now_s() - began_s < 5
    assert vendor.ids == [fresh]


@virtual
async def test_who_has_no_share_sends_nothing() -> None:
    """With a contract rate, an actor sends nothing before a plan gives it a share of the rate.

    When the actor gets a share, it sends at once.
    """
    stage, a = Stage(), ScriptedVendor("a")
    courier = await stage.courier(a, limits=CourierLimits(rate_per_s=10.0))
    stage.start(tend(stage, courier).run())
    await stage.accept(5)
    await asyncio.sleep(3.0)
    plan = plan_of(1, a="closed")
    others = dataclasses.replace(plan.vendors["a"], shares={"a/other": Share(10.0, 10.0)})
    courier.adopt_plan(dataclasses.replace(plan, vendors={"a": others}))
    await asyncio.sleep(3.0)
    assert a.sent == []
    mine = dataclasses.replace(plan.vendors["a"], shares={courier.me: Share(10.0, 10.0)})
    courier.adopt_plan(dataclasses.replace(plan, epoch=2, vendors={"a": mine}))
    await until(lambda: len(a.sent) == 5, 1.0)


@virtual
async def test_a_share_belongs_to_one_incarnation() -> None:
    """An actor has a share of the contract rate and begins a new incarnation. The new incarnation has no share until a
    plan names it.
    """
    stage, a = Stage(), ScriptedVendor("a")
    courier = await stage.courier(a, limits=CourierLimits(rate_per_s=10.0))
    plan = plan_of(1, a="closed")
    mine = dataclasses.replace(plan.vendors["a"], shares={courier.me: Share(10.0, 10.0)})
    courier.adopt_plan(dataclasses.replace(plan, vendors={"a": mine}))
    assert courier.gate.bucket.rate_per_s == 10.0
    courier.begin(await stage.control.register("a"))
    assert (courier.gate.bucket.rate_per_s, courier.takes_max()) == (0.0, 0)


@virtual
async def test_bulk_moves_however_busy_the_others_are() -> None:
    """A bulk message is sent early among 400 messages with high priority, because one claim in eight begins with
    the lowest lane.
    """
    stage, a = Stage(), ScriptedVendor("a", duration_s=0.01)
    await stage.accept(400, priority="high")
    (bulk,) = await stage.accept(1, priority="bulk")
    await stage.courier(a, limits=CourierLimits(concurrency_max=4))
    await until(lambda: stage.state(bulk) == "settled")
    assert stage.states().count("settled") < 200


class CrowdedVendor(ScriptedVendor):
    """A vendor that can work on `carries` calls at once. If more calls are in flight, it becomes slower.

    `crowd` lists how many calls were in flight at the start of each call.
    """

    def __init__(self, name: str, carries: int) -> None:
        super().__init__(name)
        self.carries, self.in_flight, self.crowd = carries, 0, [0]

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        self.in_flight += 1
        self.crowd.append(self.in_flight)
        self.duration_s = 0.05 * max(1.0, self.in_flight / self.carries)
        try:
            return await super().send(message, timeout_s)
        finally:
            self.in_flight -= 1


@virtual
async def test_a_vendor_that_slows_down_under_load_is_not_crowded() -> None:
    """When a vendor can work on only 10 calls at once instead of 1,000, the courier soon keeps at most 24 calls in
    flight.
    """
    stage, a = Stage(), CrowdedVendor("a", carries=1000)
    limits = CourierLimits(concurrency_min=4, concurrency_max=64)
    courier = await stage.courier(a, limits=limits)
    await stage.accept(6000)
    await until(lambda: len(a.sent) > 2000, 60.0)
    a.carries = 10
    await until(lambda: len(a.sent) > 3000, 60.0)
    a.crowd.clear()
    await until(lambda: len(a.sent) > 4000, 60.0)
    assert 10 <= max(a.crowd) <= 24
    assert courier.gate.concurrency.value <= 24


@virtual
async def test_a_throttle_lowers_the_limit_and_spends_no_attempt() -> None:
    """One throttled answer lowers the concurrency limit and costs the notification no attempt."""
    stage, a = Stage(), ScriptedVendor("a", [Outcome.throttled("busy", 0.05)])
    courier = await stage.courier(a)
    (nid,) = await stage.accept()
    await until(lambda: stage.state(nid) == "due")
    assert (courier.gate.concurrency.value, stage.cell.found(nid)[1].attempts) == (44, 0)


@virtual
async def test_a_prober_does_not_turn_its_fallbacks_backlog_over() -> None:
    """Vendor a is half open and probes. It looks for its own messages in the mailbox of vendor b, its fallback, where
    2,000 messages wait that are only for b.

    In five seconds a puts back at most 125 of these messages. Then messages for a arrive in the same mailbox, and a
    finds them.
    """
    stage, a, b = Stage(), ScriptedVendor("a"), ScriptedVendor("b", duration_s=1.0)
    first = await stage.courier(a, breaker=FRAGILE)
    second = await stage.courier(b, limits=CourierLimits(concurrency_min=2, concurrency_max=2))
    first.breaker.restore(BreakerSnapshot(BreakerState.HALF_OPEN), 0, int(stage.clock.now_s() * 1e9))
    plan = plan_of(a="half_open", b="closed")
    entries = {"a": dataclasses.replace(plan.vendors["a"], drains=("a", "b"), prober=first.me), "b": plan.vendors["b"]}
    for courier in (first, second):
        courier.adopt_plan(dataclasses.replace(plan, vendors=entries))
        stage.start(tend(stage, courier).run())
    await stage.accept(2000, vendor="b", chain=("b",))
    await asyncio.sleep(5)
    disturbed = stage.counted("dispatcher_moves", "a", "b") + stage.counted("dispatcher_retries", "a")
    assert 20 <= disturbed <= 5 * 5 * 5
    await stage.accept(500, vendor="b", chain=("a", "b"), priority="high")
    await until(lambda: len(a.sent) >= 2, 2.0)
