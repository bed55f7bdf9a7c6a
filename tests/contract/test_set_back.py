"""Tests that delays keep their length when the store's wall clock jumps (dispatcher/core/store/delay_time.py)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest
import redis.asyncio

from dispatcher.adapters.memory.cell import Cell
from dispatcher.adapters.memory.control import MemoryControl
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.adapters.memory.views import MemoryViews
from dispatcher.adapters.redis import script_calls as scripts
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.adapters.redis.views import RedisViews
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.core.store.delay_time import DelayTime
from dispatcher.ports import STORED, Applied, Promoted
from tests import skew
from tests.contract.worlds import World, hold, lanes, retry, trigger

WAIT_MS = 600
HOUR_S = 3600


class WrongClock(SystemClock):
    """A clock whose monotonic time is right. Its wall time is wrong by `wrong_s` seconds."""

    wrong_s = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + self.wrong_s * 1000


@dataclass
class Place:
    """A world whose wall clock a test can set.

    `set` makes the clock wrong by some seconds. Each time a store finds that the clock was set back, `told` gets the
    difference in ms. `fresh` returns a store as a new process would have it.
    """

    world: World
    set: Callable[[int], Awaitable[Any]]
    fresh: Callable[[], Any]
    told: list[int] = field(default_factory=list)

    async def waiting(self, decision: Any) -> str:
        """Apply `decision`, such as a retry, to a new notification, so that it waits. Return the notification's id.

        The list of due notifications is also read once, so that the store has noted the time before a test changes the
        clock.
        """
        me = await self.world.actor()
        (claim,) = await self.world.claimed(me)
        assert await self.world.store.apply(me, [(claim, decision)], self.world.now_ms()) == [Applied.DONE]
        assert (await self.world.store.due())[1] == []
        return claim.notification.id

    async def due(self) -> list[str]:
        return [entry.id for entry in (await self.world.store.due())[1]]


def on_redis(connection: redis.asyncio.Redis) -> Place:
    told: list[int] = []
    store = RedisStore(connection, on_set_back=told.append)
    world = World(store, RedisControl(connection), RedisViews(connection))
    return Place(world, lambda s: connection.set(skew.SKEW, s), lambda: RedisStore(connection), told)


def in_memory() -> Place:
    clock = WrongClock()
    cell = Cell(clock)
    store = MemoryStore(cell, 60_000)

    async def set_(seconds: int) -> None:
        clock.wrong_s = seconds

    return Place(World(store, MemoryControl(cell), MemoryViews(cell, 60_000)), set_, lambda: store)


@pytest.fixture
def skewed_scripts() -> Any:
    with (
        mock.patch.object(scripts, "script", skew.skewed(scripts.script)),
        mock.patch.object(redis.asyncio.Redis, "time", skew.time),
    ):
        yield


@pytest.fixture(params=["redis", "memory"])
def place(request: pytest.FixtureRequest, skewed_scripts: None) -> Place:
    return on_redis(request.getfixturevalue("redis_client")) if request.param == "redis" else in_memory()


@pytest.fixture
def redis_place(redis_client: redis.asyncio.Redis, skewed_scripts: None) -> Place:
    return on_redis(redis_client)


async def test_a_retry_waits_no_longer(place: Place) -> None:
    """The clock is set back by an hour while a retry waits. The retry still becomes due after the wait that it was
    given, and it can be promoted once.
    """
    nid = await place.waiting(retry(WAIT_MS))
    await place.set(-HOUR_S)
    assert await place.due() == []
    await asyncio.sleep(WAIT_MS / 1000)
    _, entries = await place.world.store.due()
    assert [entry.id for entry in entries] == [nid]
    (entry,) = entries
    assert await place.world.store.promote([(entry, "a"), (entry, "a")]) == [Promoted.DONE, Promoted.GONE]
    assert len((await place.world.store.claim(await place.world.actor(), lanes("a"), 5)).claims) == 1


async def test_what_is_held_waits_no_longer(place: Place) -> None:
    """The store's clock is set back by an hour while a notification is held. The notification becomes overdue after its
    usual wait, and not an hour later.
    """
    nid = await place.waiting(hold(WAIT_MS))
    await place.set(-HOUR_S)
    await place.due()
    assert await place.world.store.overdue_held() == []
    await asyncio.sleep(WAIT_MS / 1000)
    assert await place.world.store.overdue_held() == [nid]


async def test_who_comes_later_agrees(place: Place) -> None:
    """The store's clock is set back by an hour, and then a retry begins its wait. The wait has its full length.

    This holds for the process that noticed the jump, and for a process that starts later.
    """
    await place.waiting(retry(60_000))
    await place.set(-HOUR_S)
    await place.due()
    nid = await place.waiting(retry(WAIT_MS))
    later = place.fresh()
    assert (await later.due())[1] == []
    await asyncio.sleep(WAIT_MS / 1000)
    assert [entry.id for entry in (await later.due())[1]] == [nid]
    assert await place.due() == [nid]


async def test_a_clock_put_right_again_holds_nothing_up(place: Place) -> None:
    """The store's clock is an hour ahead when a notification begins to wait for its retry. Then the clock is put right.

    The notification is due after its usual wait.
    """
    await place.due()
    await place.set(HOUR_S)
    nid = await place.waiting(retry(WAIT_MS))
    await place.set(0)
    await asyncio.sleep(WAIT_MS / 1000)
    assert await place.due() == [nid]


async def test_what_has_a_date_follows_the_wall_clock(place: Place) -> None:
    """A notification waits for its `send_at`, which is a time on the wall clock. The clock is set back before that
    time.

    The notification is not due while the clock is set back, and becomes due when the clock is right again.
    """
    sent = trigger(send_at_ms=time.time_ns() // 1_000_000 + WAIT_MS)
    assert await place.world.store.accept([sent]) == [STORED]
    await place.due()
    await place.set(-HOUR_S)
    await asyncio.sleep(WAIT_MS / 1000)
    assert await place.due() == []
    await place.set(0)
    assert await place.due() == [f"{sent.id}.0"]


async def test_a_step_is_told_once(redis_place: Place) -> None:
    """The store's clock is set back by an hour. Only the process that notices it first reports by how much. A second
    process reports nothing.
    """
    await redis_place.waiting(retry(60_000))
    other_told: list[int] = []
    other = RedisStore(redis_place.world.store._redis, on_set_back=other_told.append)
    await other.due()
    await redis_place.set(-HOUR_S)
    await redis_place.due()
    await other.due()
    (by_ms,) = redis_place.told
    assert abs(by_ms - HOUR_S * 1000) < 1000
    assert other_told == []


async def test_a_restart_of_everything_keeps_the_waits(redis_place: Place) -> None:
    """The store's clock is set back, and all processes restart. A retry that waits is due after its wait, not an hour
    later.
    """
    nid = await redis_place.waiting(retry(WAIT_MS))
    await redis_place.set(-HOUR_S)
    alone = redis_place.fresh()
    assert (await alone.due())[1] == []
    await asyncio.sleep(WAIT_MS / 1000)
    assert [entry.id for entry in (await alone.due())[1]] == [nid]


JUDGE = DelayTime.correction


@pytest.mark.parametrize(
    ("instead", "test"),
    [
        pytest.param(lambda *reading: None, test_a_retry_waits_no_longer, id="no rule: the wall clock"),
        pytest.param(lambda *reading: None, test_what_is_held_waits_no_longer, id="no rule: the deadline"),
        pytest.param(lambda *reading: None, test_a_clock_put_right_again_holds_nothing_up, id="no rule: put right"),
        pytest.param(
            lambda self, at_ms, dated_ms, *asked: JUDGE(self, at_ms, 0, *asked),
            test_a_restart_of_everything_keeps_the_waits,
            id="nothing remembered over a restart",
        ),
    ],
)
async def test_without_the_rule_it_waits_an_hour(redis_place: Place, instead: Any, test: Any) -> None:
    """With the correction of delays removed, the tests above fail."""
    with mock.patch.object(DelayTime, "correction", instead), pytest.raises(AssertionError):
        await test(redis_place)
