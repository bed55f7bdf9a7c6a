"""Checks a store that was emptied or went back to an older copy, so that plans have lower epochs.

Actors follow the new plans, and no contract rate is exceeded.
"""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

import pytest

from actors.vendor import VendorActor
from dispatcher.core.plan.decide import Survey, decide
from dispatcher.core.plan.values import Beat, Plan, PlanConfig, Report, VendorConfig
from dispatcher.errors import StaleTermError
from dispatcher.supervise.plan_follower import PlanFollower
from dispatcher.supervise.supervisor import Supervisor
from tests.unit.desk import Desk
from tests.unit.stage import ScriptedVendor, Stage, plan_of
from tests.unit.vendor_actors import OneActor
from tests.virtual import until, virtual

A = {"adapter": "twilio", "channel": "sms", "rate_per_s": 10}
SETTINGS: dict[str, Any] = {"vendors": {"a": A}, "routes": [{"channel": "sms", "chain": ["a"]}]}
CONFIG = PlanConfig({"a": VendorConfig("a", "sms", rate_per_s=10.0)}, (("a",),))

HELD, LATER, EARLIER = plan_of(50, a="open"), plan_of(51, a="closed"), plan_of(1, a="closed")


@pytest.mark.parametrize(
    ("plan", "asked_with", "replaces"),
    [
        pytest.param(LATER, None, True, id="news"),
        pytest.param(EARLIER, None, False, id="old news"),
        pytest.param(LATER, HELD, True, id="an answer with a later one"),
        pytest.param(EARLIER, HELD, True, id="an answer with an earlier one: the store went back"),
        pytest.param(plan_of(50, a="open"), HELD, False, id="an answer with the same"),
        pytest.param(EARLIER, plan_of(49, a="open"), False, id="an answer overtaken by news"),
    ],
)
def test_which_plan_to_work_by(plan: Plan, asked_with: Plan | None, replaces: bool) -> None:
    """A plan that was published replaces the current plan only if its epoch is higher.

    A plan that was read from the store replaces the current plan at any epoch. But if a published plan arrived during
    the read, the read plan needs a higher epoch too.
    """
    assert plan.replaces(HELD, asked_with) is replaces
    assert plan.replaces(Plan())


class Limited(OneActor):
    """The only actor of a vendor with a contract rate."""

    def __init__(self, stage: Stage, vendor: ScriptedVendor) -> None:
        with mock.patch("actors.vendor.build", lambda *_: vendor):
            VendorActor.__init__(self, SETTINGS, "a", {}, {})
        self.stage = stage


@virtual
async def test_an_actor_works_on_after_the_store_was_emptied() -> None:
    """An actor has a plan of epoch 50. The store is emptied, so that plans begin again at epoch 1.

    The actor adopts the new plan, gets a share of the rate, and sends again.
    """
    stage, vendor = Stage(), ScriptedVendor("a")
    stage.cell.plan = plan_of(50, a="closed")
    office = stage.start(Supervisor(stage.control, stage.clock, CONFIG).run())
    one = Limited(stage, vendor)
    await one.start()
    await stage.accept(5, chain=("a",))
    await until(lambda: len(vendor.sent) == 5, 10.0)
    assert one._courier.plan.epoch > 50
    stage.cell.plan, stage.cell.term, stage.cell.actors = None, 0, {}
    office.cancel()  # the store would refuse its next plan, and another supervisor begins a term
    stage.start(Supervisor(stage.control, stage.clock, CONFIG).run())
    await until(lambda: stage.cell.actors, 5.0)
    await stage.accept(5, chain=("a",))
    await until(lambda: len(vendor.sent) == 10, 6.0)
    assert one._courier.plan.epoch < 50


@virtual
async def test_a_supervisor_notices_that_its_plan_is_gone() -> None:
    """If the store goes back to an older plan, the supervisor publishes its plan again.

    If the store is emptied, the supervisor ends with StaleTermError.
    """
    stage = Stage()
    office = stage.start(Supervisor(stage.control, stage.clock, CONFIG).run())
    stage.cell.actors = {"a/1": "live"}

    async def live_on() -> None:
        while True:
            await stage.control.beat(Beat("a/1", "a", "", 0, ""))
            await stage.control.report(Report("a/1", "a", "closed"))
            await asyncio.sleep(0.25)

    stage.start(live_on())
    await asyncio.sleep(5.0)
    stage.cell.plan = plan_of(0, a="open")
    await asyncio.sleep(1.0)
    assert stage.cell.plan.vendors["a"].state == "closed"
    assert stage.cell.plan.reason == "said again: the store had lost it"
    stage.cell.plan, stage.cell.term = None, 0
    await until(office.done, 2.0)
    assert isinstance(office.exception(), StaleTermError)


@virtual
async def test_intake_routes_by_the_new_stores_plan() -> None:
    """The store was replaced, so its plan has a lower epoch than the plan that an intake replica knows.

    The replica uses the store's plan within 2.5 seconds.
    """
    stage, desk = Stage(), Desk()
    intake = desk.intake
    intake.plan = HELD
    follower = PlanFollower(*(stage.control, stage.clock, lambda: 0.5), current=lambda: intake.plan, adopt=intake.adopt)
    stage.cell.plan = EARLIER
    stage.start(follower.run())
    await asyncio.sleep(0.1)
    assert intake.plan is EARLIER
    stage.cell.plan = plan_of(0, a="open")
    await asyncio.sleep(2.5)
    assert intake.plan.epoch == 0


def shares(*reports: Report, live: set[str], previous: Plan) -> dict[str, float]:
    plan = decide(Survey(reports, live=live, office="new"), CONFIG, previous, 1)
    found = plan.vendors["a"].shares
    assert found is not None
    return {name: share.per_s for name, share in found.items()}


def test_nobody_gets_more_while_an_actor_works_by_a_lost_plan() -> None:
    """The store has lost its plans, and a new supervisor has made a new plan. While one actor still works by a lost
    plan, nobody knows its share, so no other actor gets a share.

    When this actor confirms the new plan, both actors get half of the rate.
    """
    one = decide(Survey([Report("a/1", "a", "closed")], live={"a/1"}, office="old"), CONFIG, Plan(40), 1)
    lost = Report("a/1", "a", "closed", epoch=50, office="old")
    both = {"a/1", "a/2"}
    before = decide(Survey([lost, Report("a/2", "a", "closed")], live=both, office="new"), CONFIG, one, 1)
    assert before.epoch == 42
    assert shares(lost, Report("a/2", "a", "closed", epoch=42, office="new"), live=both, previous=before)["a/2"] == 0
    here = [Report(name, "a", "closed", epoch=42, office="new") for name in sorted(both)]
    assert shares(*here, live=both, previous=before) == {"a/1": 5.0, "a/2": 5.0}
