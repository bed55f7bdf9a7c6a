"""Checks an operator's override at the vendor actors: `close` sends to a failing vendor until its time is over."""

from __future__ import annotations

import asyncio
from collections import Counter

from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.breaker.values import BreakerSnapshot
from tests.unit.vendor_actors import OneOfTwo, Outage
from tests.virtual import until, virtual


@virtual
async def test_close_sends_whatever_the_breaker_says() -> None:
    """Under `close` every message is tried at the failing vendor, then sent by the next vendor, and none waits."""
    outage = Outage()
    outage.say("close", None)
    await outage.begin()
    await outage.post(30.0)
    await asyncio.sleep(3.0)
    assert Counter(outage.stage.states()) == {"settled": 600}
    assert len(outage.a.sent) == 600
    assert len(outage.b.sent) == 600


@virtual
async def test_an_open_breaker_closes_at_an_operators_word() -> None:
    """When an operator says `close`, an open vendor gets work again at once, before its breaker's wait is over."""
    outage = Outage()
    await outage.begin()
    await outage.post(2.0)
    assert outage.actors[0].breaker.state is BreakerState.OPEN
    outage.a.then = None
    outage.say("close", None)
    before = len(outage.a.sent)
    await outage.post(2.0)
    assert len(outage.a.sent) - before > 20


@virtual
async def test_when_close_ends_the_breaker_judges_again() -> None:
    """An operator's `close` ends while the vendor fails. Its breaker opens as usual, so the vendor gets only a few more
    calls.
    """
    outage = Outage()
    outage.say("close", 10.0)
    await outage.begin()
    await outage.post(9.0)
    assert outage.actors[0].breaker.state is BreakerState.METRICS_ONLY
    await outage.post(2.0)
    before, epoch = len(outage.a.sent), outage.supervisor.plan.epoch
    await outage.post(30.0)
    assert outage.supervisor.plan.vendors["a"].override is None
    assert len(outage.a.sent) - before <= 10
    assert outage.supervisor.plan.epoch - epoch <= 20


@virtual
async def test_an_expired_close_is_as_if_never_said() -> None:
    """The operator's override `close` has run out. The failing vendor is then cut off as usual, so it gets at most 15
    calls in 30 s.

    There are at most 20 plans in this time.
    """
    outage = Outage()
    outage.say("close", -1.0)
    await outage.begin()
    epoch = outage.supervisor.plan.epoch
    await outage.post(30.0)
    assert outage.supervisor.plan.vendors["a"].override is None
    assert len(outage.a.sent) <= 15
    assert outage.supervisor.plan.epoch - epoch <= 20


@virtual
async def test_close_holds_for_an_actor_that_begins_meanwhile() -> None:
    """A new actor obeys an existing `close`, although the breaker state that it restores is open."""
    outage = Outage()
    outage.say("close", None)
    await outage.begin()
    first = outage.actors[0]
    first.kill()
    down = BreakerSnapshot(BreakerState.OPEN, attempts=3, wait_ns=60_000_000_000)
    await outage.stage.control.remember("a", {"incarnation": first._courier.me, "breaker": down.to_dict()})
    second = OneOfTwo(outage.stage, outage.a)
    await second.start()
    await until(lambda: second._courier.me, 2.0)
    await asyncio.sleep(0.2)
    assert second.breaker.state is BreakerState.METRICS_ONLY
