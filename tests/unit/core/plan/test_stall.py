"""Checks that a stall is reported if a healthy vendor delivers nothing of the work that is ready, and in no other
case.
"""

from __future__ import annotations

import pytest

from dispatcher.core.life.backlog import Backlog
from dispatcher.core.plan.stall import Stall, StallWatch, patience_s, working_vendors
from dispatcher.core.plan.values import Plan, VendorPlan

CHANNELS = {"a": "sms", "b": "sms", "m": "email"}


def plan(**states: str) -> Plan:
    """Return a plan with these states of vendors. Vendor b also drains the mailbox of vendor a if a is down."""
    vendors = {name: VendorPlan(name, state, state == "closed", (name,)) for name, state in states.items()}
    if states.get("a") != "closed" and "b" in vendors:
        vendors["b"] = VendorPlan("b", states["b"], True, ("b", "a"))
    return Plan(1, 0, vendors)


WELL = plan(a="closed", b="closed", m="closed")


def backlog(ready_s: float, name: str = "a", count: int = 3) -> dict[str, Backlog]:
    box = Backlog(name, ready_ms=int(ready_s * 1000))
    box.counts["queued"] = count
    return {name: box}


class Watched:
    """A StallWatch that is asked once a second, and the clock by which this is done."""

    def __init__(self, **rates: float) -> None:
        self.watch, self.now_s = StallWatch(CHANNELS, rates), 100.0

    def wait(self, seconds: int, of: Plan = WELL, ready_s: float | None = None, box: str = "a") -> list[Stall]:
        """Ask the watch once a second for `seconds`, and return its last answer.

        The oldest ready notification in the mailbox `box` becomes older with each second. With `ready_s` its age stays
        the same.
        """
        found: list[Stall] = []
        for second in range(seconds + 1):
            age_s = second if ready_s is None else ready_s
            found = self.watch.look(of, backlog(age_s, box) if age_s else {}, self.now_s)
            self.now_s += 1
        return found


def test_work_that_nobody_delivers_is_a_stall_after_thirty_seconds() -> None:
    """Work that is ready and not delivered is a stall after 30 s, and not before."""
    assert Watched().wait(30) == []
    assert Watched().wait(31) == [Stall("a", "sms", 3, 31.0)]


def test_before_the_first_plan_a_vendor_is_presumed_healthy() -> None:
    """Before the first plan every vendor counts as healthy, so that a missing supervisor does not hide a stall."""
    assert [stall.vendor for stall in Watched().wait(31, Plan())] == ["a"]


def test_one_delivery_is_enough() -> None:
    """A vendor is stalled. One delivery ends the stall for another 30 s, however old the backlog is.

    If the same count of deliveries is reported again, that is not a delivery.
    """
    watched = Watched()
    assert watched.wait(31, ready_s=600)
    watched.watch.delivered("a", "a-1", 1)
    assert watched.wait(29, ready_s=600) == []
    watched.watch.delivered("a", "a-1", 1)  # the same count again
    assert watched.wait(3, ready_s=600)


def test_a_process_that_ended_is_no_delivery() -> None:
    """Actors die again and again, and each new one has delivered nothing. The vendor counts as stalled.

    A new actor's count of deliveries begins at 0, and this change of the count is no delivery.
    """
    watched = Watched()
    watched.watch.delivered("a", "a-1", 5)
    for number in range(4):
        watched.watch.delivered("a", f"a-{number + 2}", 0)
        found = watched.wait(9, ready_s=60)
    assert [stall.vendor for stall in found] == ["a"]


@pytest.mark.parametrize(
    ("of", "box", "ready_s"),
    [
        pytest.param(plan(a="open", b="open", m="closed"), "m", 0.0, id="no work"),
        pytest.param(plan(a="open"), "a", 90.0, id="a vendor that is down"),
        pytest.param(plan(a="half_open", b="open"), "a", 90.0, id="one that recovers"),
        pytest.param(WELL, "gone", 90.0, id="a mailbox without a vendor"),
        pytest.param(WELL, "a", 5.0, id="work that is always young: all of it ends otherwise"),
    ],
)
def test_what_is_no_stall(of: Plan, box: str, ready_s: float) -> None:
    """There is no stall without work, or without a vendor that could do the work.

    Work that has been ready only for a short time is no stall either.
    """
    assert Watched().wait(300, of, ready_s, box) == []


def test_old_work_that_a_vendor_gets_now_gives_it_time() -> None:
    """A vendor that has just got old work, by adoption or after an outage, has 30 s before a stall is reported."""
    watched = Watched()
    assert watched.wait(300, plan(a="open", b="open"), 600) == []
    assert watched.wait(29, plan(a="open", b="closed"), 600) == []
    assert [stall.vendor for stall in watched.wait(2, plan(a="open", b="closed"), 600)] == ["b"]


def test_a_contract_of_one_call_a_minute_is_no_stall() -> None:
    """The patience for a vendor with a slow contract rate is long enough for two calls, for example 120 s at one
    call a minute.
    """
    assert (patience_s(None), patience_s(0.0), patience_s(50), patience_s(1 / 60)) == (30, 30, 30, 120)
    assert Watched(a=1 / 60).wait(119) == []
    assert Watched(a=1 / 60).wait(121)


def test_a_channel_without_a_vendor_is_counted() -> None:
    """`working_vendors` counts the vendors of each channel that can send.

    Before the first plan every vendor counts.
    """
    assert working_vendors(plan(a="open", b="forced_open", m="closed"), CHANNELS) == {"sms": 0, "email": 1}
    assert working_vendors(plan(a="half_open", b="closed", m="absent"), CHANNELS) == {"sms": 1, "email": 0}
    assert working_vendors(Plan(), CHANNELS) == {"sms": 2, "email": 1}
