"""Tests on a full Redis: it refuses new work, and every call that makes room still works. They need a real Redis."""

from __future__ import annotations

import pytest
import redis.asyncio

from dispatcher.adapters.redis.keys import Keys
from dispatcher.core.life.dead_letter import DeadLetterFilter
from dispatcher.core.life.decide import Decision
from dispatcher.core.life.notification import Lane
from dispatcher.core.plan.values import Override
from dispatcher.ports import STORED, Applied, Promoted, Redriven
from tests.contract.worlds import (
    ENDINGS,
    FULL,
    WITHDRAWN,
    World,
    dead,
    full,
    lanes,
    plan,
    retry,
    trigger,
)

KEYS = Keys()
LANE = KEYS.lane(Lane("a", "normal"))


@pytest.fixture
def world(redis_world: World) -> World:
    return redis_world


async def test_a_full_redis_refuses_new_work_cleanly(world: World, redis_client: redis.asyncio.Redis) -> None:
    """A full Redis refuses queued and delayed triggers with FULL and stores nothing. Later the same triggers are
    stored.
    """
    sent, later = trigger(), trigger(send_at_ms=world.now_ms() + 1000)
    async with full(redis_client):
        assert await world.store.accept([sent, later]) == [FULL, FULL]
        assert await redis_client.keys("*") == []
    assert await world.store.accept([sent, later]) == [STORED, STORED]


@pytest.mark.parametrize("decision", ENDINGS.values(), ids=ENDINGS.keys())
async def test_every_ending_works_on_a_full_redis(
    world: World, redis_client: redis.asyncio.Redis, decision: Decision
) -> None:
    """Every decision about a claim can be applied on a full Redis."""
    me = await world.actor()
    (claim,) = await world.claimed(me)
    async with full(redis_client):
        assert await world.store.apply(me, [(claim, decision)], world.now_ms()) == [Applied.DONE]


async def test_an_operator_is_heard_on_a_full_redis(world: World, redis_client: redis.asyncio.Redis) -> None:
    """An override can be set and removed on a full Redis."""
    word = Override("a", "open", "ada", "why", 17)
    async with full(redis_client):
        await world.control.set_override("a", word)
        assert await world.control.overrides() == {"a": word}
        await world.control.set_override("a", None)
        assert await world.control.overrides() == {}


async def test_draining_and_failover_work_on_a_full_redis(world: World, redis_client: redis.asyncio.Redis) -> None:
    """On a full Redis these calls still work: register, renew and bury an incarnation; take, claim, start, promote and
    withdraw notifications; publish a plan; redrive and discard dead letters.
    """
    dying = await world.actor()
    one, two = await world.claimed(dying, 2, on_unknown="hold")
    await world.store.apply(dying, [(one, retry(-5))], world.now_ms())
    await world.claimed(dying)
    async with full(redis_client):
        me = await world.actor()
        term, _ = await world.control.begin_term()
        await world.control.publish(plan(1), term)
        assert await world.store.start(dying, two)
        assert await world.control.renew(dying)
        await world.control.bury({dying: 1}, term)
        (taken,) = (await world.store.take(me, lanes("a"))).claims
        assert await world.state(two.notification.id) == "held"
        assert await world.store.apply(me, [(taken, dead())], world.now_ms()) == [Applied.DONE]
        _, (entry,) = await world.store.due()
        assert await world.store.promote([(entry, "b")]) == [Promoted.DONE]
        assert len((await world.store.claim(me, lanes("a", "b"), 9)).claims) == 1
        assert await world.store.withdraw(two.notification.id, "dead", "unknown") == WITHDRAWN
        letters = await world.letters(DeadLetterFilter())
        assert await world.views.redrive([Redriven(letters[0], "a", "normal", world.now_ms() + 1000)]) == 1
        assert await world.views.discard([letters[1]]) == 1
        await world.control.stopped(me)


async def test_a_mailbox_new_to_a_full_redis_is_drained(world: World, redis_client: redis.asyncio.Redis) -> None:
    """On a full Redis, a notification is moved into a mailbox that was never used, and can be claimed there."""
    me, other = await world.actor(), await world.actor("b")
    (claim,) = await world.claimed(me)
    async with full(redis_client):
        await world.store.apply(me, [(claim, ENDINGS["move"])], world.now_ms())
        assert len((await world.store.claim(other, lanes("b"), 1)).claims) == 1


async def test_memory_is_told(world: World, redis_client: redis.asyncio.Redis) -> None:
    """`memory` returns the bytes that Redis uses and may use."""
    used, most = await world.control.memory()
    assert 0 < used < most == 256 * 2**20
