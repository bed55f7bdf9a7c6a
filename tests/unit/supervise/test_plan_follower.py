"""Tests how soon a process works by a plan that its subscription did not bring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from dispatcher.adapters.memory.control import MemoryControl
from dispatcher.core.plan.messages import Message
from dispatcher.core.plan.values import Plan, VendorPlan
from dispatcher.supervise.plan_follower import PlanFollower
from tests.unit.stage import ScriptedVendor, Stage, plan_of
from tests.unit.vendor_actors import OneOfTwo
from tests.virtual import until, virtual

LATER = plan_of(6, a="closed", b="closed")
EARLIER = Plan(5, 0, {**LATER.vendors, "a": VendorPlan("a", "closed", True, ())})


class Hurried(MemoryControl):
    """A control channel on which a plan is published while a subscription is being made."""

    async def listen(self, kinds: Sequence[str]) -> AsyncGenerator[Message | None, None]:
        self._cell.plan = LATER
        async for message in super().listen(kinds):
            yield message


class Deaf(MemoryControl):
    """A control channel whose subscriptions are open and bring nothing, as for seconds after a cut."""

    async def listen(self, kinds: Sequence[str]) -> AsyncGenerator[Message | None, None]:
        while True:
            await asyncio.sleep(0.5)
            yield None


@virtual
async def test_a_plan_that_came_before_the_subscription_is_not_missed() -> None:
    """A plan is published after the first read and before the subscription begins. The follower has it at once."""
    stage = Stage()
    stage.cell.plan, adopted = EARLIER, list[Plan]()
    follower = PlanFollower(
        *(Hurried(stage.cell), stage.clock, lambda: 0.5),
        current=lambda: adopted[-1] if adopted else Plan(),
        adopt=lambda plan, asked_with: adopted.append(plan),
    )
    stage.start(follower.run())
    await asyncio.sleep(0.05)
    assert adopted == [EARLIER, LATER]


@virtual
async def test_an_actor_that_was_cut_off_has_its_work_back_at_once() -> None:
    """An actor was declared dead, and the other vendor got its work. It begins a new incarnation, and a plan gives it
    its work again. It works by this plan within 0.3 seconds, although its subscription brings nothing.
    """
    stage, vendor = Stage(), ScriptedVendor("a")
    stage.control = Deaf(stage.cell)
    stage.cell.plan = plan_of(4, a="closed", b="closed")
    actor = OneOfTwo(stage, vendor)
    await actor.start()
    await until(lambda: actor._courier.plan.epoch == 4, 3.0)
    await asyncio.sleep(5.0)
    old = actor._courier.me
    stage.cell.actors[old] = "dead"
    await stage.accept(1, vendor="a", chain=("a",))  # the claim is refused, so the actor learns that it is dead
    await until(lambda: actor._courier.me != old, 5.0)
    stage.cell.plan = EARLIER
    await until(lambda: actor._courier.plan.epoch == 5, 0.3)
    sent = len(vendor.sent)
    await stage.accept(1, vendor="a", chain=("a",))
    await asyncio.sleep(0.5)
    assert len(vendor.sent) == sent
    stage.cell.plan = LATER
    await until(lambda: len(vendor.sent) > sent, 0.3)
