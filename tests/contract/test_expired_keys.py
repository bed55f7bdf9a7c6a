"""Tests how long an idempotency key is known: until its trigger has ended and the retention is over."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis.asyncio

from dispatcher.adapters.memory.cell import Cell
from dispatcher.adapters.memory.control import MemoryControl
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.adapters.memory.views import MemoryViews
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.adapters.redis.views import RedisViews
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.ports import STORED, Applied
from tests.contract.worlds import CONFLICT, REPLAYED, World, dead, lanes, settle, trigger

BRIEF_MS = 150


@pytest.fixture
def brief_redis(redis_client: redis.asyncio.Redis) -> World:
    store = RedisStore(redis_client, retention_ms=BRIEF_MS)
    return World(store, RedisControl(redis_client), RedisViews(redis_client, retention_ms=BRIEF_MS))


@pytest.fixture
def brief_memory() -> World:
    cell = Cell(SystemClock())
    return World(MemoryStore(cell, BRIEF_MS), MemoryControl(cell), MemoryViews(cell, BRIEF_MS))


@pytest.fixture(params=["redis", "memory"])
def brief(request: pytest.FixtureRequest) -> World:
    """Return a world whose retention is only `BRIEF_MS` milliseconds."""
    found: World = request.getfixturevalue(f"brief_{request.param}")
    return found


async def forgotten(world: World, trigger_id: str) -> None:
    until = time.monotonic() + 5.0
    while await world.views.trigger(trigger_id) is not None:
        assert time.monotonic() < until, "its record does not expire"
        await asyncio.sleep(0.02)


async def test_a_key_is_known_after_its_trigger_has_ended(world: World) -> None:
    """Within the retention, a settled trigger is answered REPLAYED for the same body and CONFLICT for another.

    Nothing is queued for either.
    """
    me = await world.actor()
    (claim,) = await world.claimed(me)
    await world.store.apply(me, [(claim, settle())], world.now_ms())
    trigger_id = claim.notification.id.rpartition(".")[0]
    again = [trigger(id=trigger_id), trigger(id=trigger_id, body_hash="h2")]
    assert await world.store.accept(again) == [REPLAYED, CONFLICT]
    assert (await world.control.depths())["a"].total == 0


@pytest.mark.parametrize("body_hash", ["h1", "h2"])
async def test_an_expired_key_makes_a_new_trigger(brief: World, body_hash: str) -> None:
    """After a trigger has ended and its retention is over, the same key makes a new trigger, with any body. A late
    decision about the old trigger is answered LOST.
    """
    me = await brief.actor()
    (old,) = await brief.claimed(me)
    trigger_id = old.notification.id.rpartition(".")[0]
    await brief.store.apply(me, [(old, settle())], brief.now_ms())
    await forgotten(brief, trigger_id)
    assert await brief.store.accept([trigger(id=trigger_id, body_hash=body_hash)]) == [STORED]
    assert await brief.store.apply(me, [(old, settle())], brief.now_ms()) == [Applied.LOST]
    assert await brief.state(f"{trigger_id}.0") == "queued"
    (new,) = (await brief.store.claim(me, lanes("a"), 5)).claims
    assert (new.notification.id, new.notification.attempts) == (f"{trigger_id}.0", 0)
    assert await brief.store.apply(me, [(new, settle())], brief.now_ms()) == [Applied.DONE]
    await forgotten(brief, trigger_id)


@pytest.mark.parametrize("rests", ["queued", "dead"])
async def test_a_key_of_something_open_does_not_expire(brief: World, rests: str) -> None:
    """The key of a queued notification or of a dead letter is answered REPLAYED even after the retention time."""
    me = await brief.actor()
    (claim,) = await brief.claimed(me)
    if rests == "dead":
        await brief.store.apply(me, [(claim, dead())], brief.now_ms())
    await asyncio.sleep(2 * BRIEF_MS / 1000)  # nothing to wait for: it must not happen
    trigger_id = claim.notification.id.rpartition(".")[0]
    assert await brief.store.accept([trigger(id=trigger_id)]) == [REPLAYED]
    assert await brief.state(claim.notification.id) == rests
