"""An operator's word, by the actors it is about: `close` keeps sending, and ends when it ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from unittest import mock

from actors.vendor import VendorActor
from dispatcher.core.breaker import BreakerSnapshot, BreakerState
from dispatcher.core.outcome import Outcome
from dispatcher.core.plan import Override, PlanConfig, VendorConfig
from dispatcher.supervisor import Supervisor
from tests.unit.stage import ScriptedVendor, Stage
from tests.unit.test_beginning import OneActor
from tests.virtual import until, virtual

CONFIG = PlanConfig({name: VendorConfig(name, "sms") for name in "ab"}, (("a", "b"),))
BREAKER = {"consecutive_failures": 3, "open_wait_jitter": 0.0, "open_wait_s": 5.0}
SETTINGS: dict[str, Any] = {
    "vendors": {name: {"adapter": "twilio", "channel": "sms", "breaker": BREAKER} for name in "ab"},
    "routes": [{"channel": "sms", "chain": ["a", "b"]}],
}


class OneOfTwo(OneActor):
    """The only actor of one of two vendors."""

    def __init__(self, stage: Stage, vendor: ScriptedVendor) -> None:
        with mock.patch("actors.vendor.build", lambda *_: vendor):
            VendorActor.__init__(self, SETTINGS, vendor.name, {}, {"replica": vendor.name})
        self.stage = stage


class Outage:
    """Vendor a fails whatever it is sent, b is well; 20 messages a second go where the plan says."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.a, self.b = ScriptedVendor("a"), ScriptedVendor("b")
        self.a.then = Outcome.failed("http_503")
        self.supervisor = Supervisor(self.stage.control, self.stage.clock, CONFIG)
        self.actors = [OneOfTwo(self.stage, vendor) for vendor in (self.a, self.b)]

    def say(self, word: str, for_s: float | None) -> None:
        until_ms = None if for_s is None else self.stage.clock.wall_ms() + int(for_s * 1000)
        self.stage.cell.overrides["a"] = Override("a", word, "ada", "looked at it", until_ms)

    async def begin(self) -> None:
        self.stage.start(self.supervisor.run())
        for actor in self.actors:
            await actor.start()
        await until(lambda: self.supervisor.plan.vendors, 5.0)

    async def post(self, seconds: float) -> None:
        for _ in range(int(seconds * 20)):
            vendor = "a" if self.supervisor.plan.usable("a") else "b"
            await self.stage.accept(1, vendor=vendor)
            await asyncio.sleep(0.05)


@virtual
async def test_close_sends_whatever_the_breaker_says() -> None:
    """Every message is tried at the vendor that fails, goes on to the next, and none waits."""
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
    """And the vendor has work again at once, not when its wait is over."""
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
    """As with nothing said: a few calls and probes."""
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
    """It used to close the breaker again with every plan: 141 calls of a dead vendor instead of 9, and 94 plans."""
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
    """Its predecessor's breaker was open, and is what it would go on with."""
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
