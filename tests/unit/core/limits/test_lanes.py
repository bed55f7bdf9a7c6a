"""Bulk notifications leave some calls free for urgent notifications."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.life.choices import PRIORITIES
from dispatcher.core.life.notification import Lane
from dispatcher.core.limits.lanes import bulk_calls_max, claimable, crowding, full_lanes
from dispatcher.deliver.courier import CourierLimits
from tests.unit.stage import ScriptedVendor, Stage
from tests.virtual import until, virtual

LANES = [Lane(mailbox, priority) for priority in PRIORITIES for mailbox in ("a", "b")]


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (2, 1), (3, 2), (4, 3), (8, 6), (64, 48)])
def test_bulk_leaves_a_quarter_and_at_least_one(limit: int, most: int) -> None:
    assert bulk_calls_max(limit) == most


def test_with_room_for_bulk_all_lanes_claim_and_never_more_than_it_may_have() -> None:
    assert claimable(LANES, 8, 8, 0) == (LANES, 6)
    assert claimable(LANES, 2, 8, 3) == (LANES, 2)
    assert claimable(LANES, 8, 8, 5) == (LANES, 1)


def test_without_it_the_others_claim_whatever_is_free() -> None:
    assert claimable(LANES, 2, 8, 6) == ([lane for lane in LANES if lane.priority != "bulk"], 2)
    assert claimable(LANES, 1, 1, 0) == (LANES, 1)


@virtual
async def test_a_code_begins_at_once_while_bulk_holds_what_it_may() -> None:
    """Eight calls may be open at once, and bulk may use six of them. While six bulk calls are open, a message with high
    priority is sent at once.
    """
    stage, a = Stage(), ScriptedVendor("a", duration_s=5.0)
    await stage.courier(a, limits=CourierLimits(concurrency_min=8, concurrency_max=8))
    await stage.accept(100, priority="bulk")
    await until(lambda: len(a.sent) == 6)
    await asyncio.sleep(1.0)
    assert len(a.sent) == 6
    (nid,) = await stage.accept(priority="high")
    await until(lambda: a.ids[-1] == nid, 0.1)
    await stage.accept(1, priority="normal")
    await until(lambda: len(a.sent) == 8, 0.1)


@virtual
async def test_bulk_goes_on_as_soon_as_one_of_its_calls_ends() -> None:
    """A bulk call begins as soon as another one ends. So a hundred calls of 0.1 s, of which six run at once, take less
    than 2.2 s.
    """
    stage, a = Stage(), ScriptedVendor("a", duration_s=0.1)
    await stage.courier(a, limits=CourierLimits(concurrency_min=8, concurrency_max=8))
    began_s = stage.clock.now_s()
    await stage.accept(100, priority="bulk")
    await until(lambda: stage.states() == ["settled"] * 100)
    assert stage.clock.now_s() - began_s < 2.2


@virtual
async def test_normal_work_may_have_all() -> None:
    """Messages with normal priority may use all eight calls at once, because no call is kept free for others."""
    stage, a = Stage(), ScriptedVendor("a", duration_s=5.0)
    await stage.courier(a, limits=CourierLimits(concurrency_min=8, concurrency_max=8))
    await stage.accept(100, priority="normal")
    await until(lambda: len(a.sent) == 8, 1.0)


@pytest.mark.parametrize(
    ("high", "normal", "bulk", "expected"),
    [
        pytest.param(0, 0, 99, [], id="room for all"),
        pytest.param(0, 0, 100, ["bulk"], id="a bulk run fills its own lane"),
        pytest.param(0, 0, 1_000_000, ["bulk"], id="however long it is"),
        pytest.param(40, 60, 0, ["normal", "bulk"], id="what is more urgent counts with it"),
        pytest.param(100, 0, 0, ["high", "normal", "bulk"], id="nothing is more urgent than high"),
    ],
)
def test_a_lane_is_full_by_what_is_as_urgent(high: int, normal: int, bulk: int, expected: list[str]) -> None:
    queued = {"high": high, "normal": normal, "bulk": bulk}
    assert full_lanes("a", queued, 100) == {Lane("a", priority) for priority in expected}


@pytest.mark.parametrize(
    ("waiting", "others", "most", "expected"),
    [
        pytest.param({"loud": 1_000}, 0, 400, {"loud"}, id="one tenant fills it"),
        pytest.param({"loud": 1_000, "quiet": 199}, 0, 400, {"loud"}, id="the other has less than its half"),
        pytest.param({"loud": 1_000, "quiet": 200}, 0, 400, {"loud", "quiet"}, id="both have their half"),
        pytest.param({"loud": 300, "other": 150, "quiet": 10}, 0, 400, {"loud"}, id="what one leaves is the others'"),
        pytest.param({"loud": 200, "quiet": 100}, 100, 400, {"loud"}, id="what is nobody's counts first"),
        pytest.param({"loud": 1_000, "quiet": 1}, 400, 400, None, id="nothing is left to divide"),
        pytest.param({}, 400, 400, None, id="a lane without turns"),
        pytest.param({"loud": 100}, 0, 400, set(), id="not full"),
    ],
)
def test_a_full_lane_refuses_whoever_fills_it(
    waiting: dict[str, int], others: int, most: int, expected: set[str] | None
) -> None:
    assert crowding(waiting, others, most) == expected


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 1_000)), st.integers(1, 2_000))
def test_whoever_is_refused_has_more_than_whoever_is_not(waiting: dict[str, int], most: int) -> None:
    """In a full lane at least one tenant is refused.

    A refused tenant never has fewer waiting notifications than a tenant that is not refused. It has at least its equal
    share of the lane.
    """
    refused = crowding(waiting, 0, most)
    assert refused is not None
    spared = [count for tenant, count in waiting.items() if tenant not in refused]
    assert all(waiting[tenant] >= max(spared, default=0) for tenant in refused)
    assert bool(refused) == (sum(waiting.values()) >= most)
    assert all(waiting[tenant] >= most / len(waiting) for tenant in refused)
