"""Checks routes and splits at accept: the trigger decides its vendor, and a repeated trigger keeps its vendor."""

from __future__ import annotations

from collections import Counter

from tests.unit.desk import Desk
from tests.unit.stage import plan_of
from tests.virtual import virtual

SPLIT = {"channel": "sms", "chain": ["a", "b"], "split": {"a": 70, "b": 30}}


@virtual
async def test_a_route_of_the_event_is_used() -> None:
    """A route that matches the event wins over a general route that stands before it in the file."""
    desk = Desk(
        routes=[
            {"channel": "sms", "chain": ["a", "b"]},
            {"channel": "sms", "chain": ["b"], "match": {"event": ["login.code"]}},
        ]
    )
    assert (await desk.post(event="login.code")).notifications[0][2] == "b"
    assert (await desk.post(event="other")).notifications[0][2] == "a"


@virtual
async def test_a_split_shares_new_work_and_leaves_out_who_is_open() -> None:
    """New work goes to both vendors of a split, to each in its part.

    When the plan says that one vendor's breaker is open, all new work goes to the other vendor.
    """
    desk = Desk(routes=[SPLIT])
    both = Counter([(await desk.post(n % 1000, f"k{n}")).notifications[0][2] for n in range(300)])
    assert set(both) == {"a", "b"} and both["a"] > both["b"] > 50
    desk.intake.adopt(plan_of(a="open", b="closed"), None)
    assert {(await desk.post(n, f"later{n}")).notifications[0][2] for n in range(100)} == {"b"}


@virtual
async def test_a_repeated_key_keeps_its_vendor() -> None:
    """A trigger is posted again with the same idempotency key. It gets the vendor of its first answer.

    This holds even if the plan now says that this vendor's breaker is open.
    """
    desk = Desk(routes=[SPLIT])
    first = [await desk.post(n, f"k{n}") for n in range(30)]
    desk.intake.adopt(plan_of(a="open", b="closed"), None)
    again = [await desk.post(n, f"k{n}") for n in range(30)]
    assert [one.notifications for one in again] == [one.notifications for one in first]
    assert all(one.replayed for one in again)
