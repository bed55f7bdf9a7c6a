"""Checks how a vendor actor obeys a plan which says that the vendor's receipts refuse our account, or refuse messages
to a country.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.breaker.values import Permit
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.plan.values import Plan
from dispatcher.deliver.permits import ACCOUNT_OPEN_S
from dispatcher.deliver.plan_duties import PlanDuties
from tests.unit.stage import ScriptedVendor, Stage, plan_of
from tests.virtual import virtual


class Actor:
    """The courier of vendor a, and a way to give it plans."""

    async def begin(self) -> None:
        self.stage = Stage()
        self.courier = await self.stage.courier(ScriptedVendor("a"), run=False, per_country=True)
        store = MemoryStore(self.stage.cell)
        self.told = 0
        self.duties = PlanDuties(
            *(self.courier, store, self.stage.clock, 1), open_wait_s=5.0, changed=lambda: setattr(self, "told", 1)
        )
        self.epoch = 0
        self.say()

    def say(self, state: str = "closed", **changes: Any) -> None:
        self.epoch += 1
        plan: Plan = plan_of(self.epoch, a=state, b="closed")
        self.duties.adopt(replace(plan, vendors={**plan.vendors, "a": replace(plan.vendors["a"], **changes)}))

    def call(self, country: str) -> bool:
        permit = self.courier.gate.acquire(country)
        if isinstance(permit, Permit):
            self.courier.gate.record(permit, Outcome.accepted("m"), 0.01, 1)
        return permit is not None


@virtual
async def test_an_account_that_receipts_refuse_waits_as_after_an_answer() -> None:
    """The plan begins to say that the vendor refuses our account by receipts. The breaker then opens for
    ACCOUNT_OPEN_S, as after such an answer.

    While the plan goes on saying so, the breaker does not open again.
    """
    actor = Actor()
    await actor.begin()
    actor.say("open", account_refused=True)
    assert actor.courier.breaker.state is BreakerState.OPEN and actor.told
    await actor.stage.clock.sleep(ACCOUNT_OPEN_S - 1)
    actor.courier.gate.tick()
    assert actor.courier.breaker.state is BreakerState.OPEN
    await actor.stage.clock.sleep(2)
    actor.courier.gate.tick()
    assert actor.courier.breaker.state is BreakerState.HALF_OPEN
    actor.say("half_open", account_refused=True)
    assert actor.courier.breaker.state is BreakerState.HALF_OPEN
    actor.say("half_open")
    actor.say("half_open", account_refused=True)
    assert actor.courier.breaker.state is BreakerState.OPEN, "the probe was accepted, and then refused by its receipt"


@pytest.mark.parametrize("others", [True, False])
@virtual
async def test_a_country_that_receipts_refuse_is_cut_off(others: bool) -> None:
    """If the plan says that the vendor's receipts refuse messages to a country, the actor cuts off that country.

    If the actor has called no other country, it also opens the vendor's own breaker.
    """
    actor = Actor()
    await actor.begin()
    assert actor.call("US") and (not others or actor.call("DE"))
    actor.say(countries_refused=("US",))
    assert not actor.call("US")
    assert actor.call("DE") == others
    assert (actor.courier.breaker.state is BreakerState.OPEN) != others


@virtual
async def test_without_breakers_by_country_a_country_opens_nothing() -> None:
    """The plan says that a vendor's receipts refuse messages to a country. An actor without breakers by country does
    not open its breaker.
    """
    actor = Actor()
    await actor.begin()
    actor.courier.gate.keys = None
    actor.say(countries_refused=("US",))
    assert actor.courier.breaker.state is BreakerState.CLOSED
