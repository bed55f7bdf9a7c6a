"""Checks an overload: while more triggers come than the store can accept, the store works at its capacity, and the
rest are refused in time.
"""

from __future__ import annotations

import asyncio
from unittest import mock

import pytest

from dispatcher.errors import UnavailableError
from tests.unit.desk import Desk
from tests.virtual import virtual

TRIP_S, GROUP, DEADLINE_S = 0.2, 2, 1.0
CAPACITY_PER_S = GROUP / TRIP_S


async def overload(desk: Desk, times: float, seconds: float) -> tuple[list[float], list[float]]:
    """Post triggers at `times` the store's capacity for some seconds.

    Return how long each accepted request waited and how long each refused request waited, in seconds.
    """
    accepted: list[float] = []
    refused: list[float] = []
    clock = desk.stage.clock

    async def one(n: int) -> None:
        began_s = clock.now_s()
        try:
            await desk.post(n % 1000)
            accepted.append(clock.now_s() - began_s)
        except UnavailableError:
            refused.append(clock.now_s() - began_s)

    posts = []
    for n in range(int(times * CAPACITY_PER_S * seconds)):
        posts.append(asyncio.ensure_future(one(n)))
        await asyncio.sleep(1 / (times * CAPACITY_PER_S))
    await asyncio.gather(*posts)
    return accepted, refused


@pytest.mark.parametrize("times", [1.5, 5.0, 50.0])
@virtual
async def test_an_overload_leaves_the_store_its_capacity(times: float) -> None:
    """In an overload, as many requests are accepted as the store can carry, and refused requests end at the deadline.

    Hardly any refused trigger is stored. With first come, first served, each trigger would be stored just after
    its client was refused.
    """
    desk = Desk(intake={"group_commit_max": GROUP})
    desk.store.duration_s = TRIP_S
    accepted, refused = await overload(desk, times, 20.0)
    assert len(accepted) >= 0.95 * CAPACITY_PER_S * 20
    assert max(refused) == pytest.approx(DEADLINE_S, abs=0.001)
    stored = len(desk.stage.states())
    assert len(accepted) <= stored <= len(accepted) + GROUP, "hardly anyone is stored who was told no"


@virtual
async def test_those_who_gave_up_make_no_queue() -> None:
    """In a long overload, requests give up at their deadline and leave the queue.

    So the queue holds no more requests than arrive within one deadline and one round trip.
    """
    desk = Desk(intake={"group_commit_max": GROUP})
    desk.store.duration_s = TRIP_S
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, len(desk.intake._waiting))
            await asyncio.sleep(0.05)

    watching = asyncio.ensure_future(watch())
    await overload(desk, 5.0, 30.0)
    watching.cancel()
    assert most <= 5.0 * CAPACITY_PER_S * (DEADLINE_S + TRIP_S) + GROUP


@virtual
async def test_a_queue_that_one_round_trip_holds_keeps_its_order() -> None:
    """After a stall of the store, all waiting requests go together in one round trip if they fit, in the order of
    arrival.
    """
    desk = Desk(intake={"group_commit_max": 64})
    desk.store.duration_s = 0.7
    first = desk.post(0)
    await asyncio.sleep(0.01)
    rest = [desk.post(n) for n in range(1, 41)]
    await asyncio.sleep(0.1)
    desk.store.duration_s = 0.01
    answers = await asyncio.gather(first, *rest)
    assert desk.store.trips == [1, 40]
    assert desk.store.stored == [answer.id for answer in answers]


@virtual
async def test_beyond_the_bound_the_oldest_goes() -> None:
    """When WAITING_MAX requests wait, a new request pushes out the oldest, which is refused.

    If the oldest request's client has left already, no other request is refused.
    """
    desk = Desk(intake={"group_commit_max": GROUP})
    desk.store.duration_s = TRIP_S
    with mock.patch("dispatcher.accept.intake.WAITING_MAX", 4):
        under_way = desk.post(0)
        await asyncio.sleep(0.01)
        oldest, left, third, fourth = (desk.post(n) for n in range(1, 5))
        await asyncio.sleep(0.01)
        left.cancel()
        first_of_more = desk.post(5)
        await asyncio.sleep(0.01)
        assert "too many requests wait" in str(oldest.exception())
        more = [first_of_more, desk.post(6), desk.post(7)]
        await asyncio.sleep(0.01)
        assert [post.done() for post in (third, fourth, *more)] == [True, False, False, False, False]
        assert "too many requests wait" in str(third.exception())
        assert len(desk.intake._waiting) == 4
    answers = await asyncio.gather(under_way, fourth, *more)
    assert desk.store.stored == [answers[n].id for n in (0, 3, 4, 1, 2)]
