"""Tests a tenant's accept rate. All intake replicas share one token bucket in the store, which grants what the model in
`core.limits` grants.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.script_calls import client
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.core.limits.accept_rate import AcceptRate, grant
from dispatcher.ports import AcceptReply, AcceptResult
from tests.contract.worlds import CONFLICT, REPLAYED, World, full, trigger

SLOW = AcceptRate(0.01, 3)
"""One trigger in 100 s, so that the bucket does not fill up again during a test."""


def results(replies: list[AcceptReply]) -> list[AcceptResult]:
    return [reply.result for reply in replies]


STORED, LIMITED = AcceptResult.STORED, AcceptResult.LIMITED


async def test_more_than_the_burst_is_refused_and_stores_nothing(world: World) -> None:
    triggers = [trigger(tenant="shop", rate=SLOW) for _ in range(5)]
    replies = await world.store.accept(triggers)
    assert results(replies) == [STORED] * 3 + [LIMITED] * 2
    assert [reply.quota.left for reply in replies] == [2, 1, 0, 0, 0]
    assert all(99_000 <= reply.quota.next_ms <= 100_000 for reply in replies[2:])
    assert all(290_000 <= reply.quota.full_ms <= 300_000 for reply in replies[3:])
    assert (await world.control.depths())["a"].total == 3
    assert await world.views.trigger(triggers[3].id) is None


async def test_a_repeat_is_answered_first_and_uses_nothing(world: World) -> None:
    """A trigger that repeats an accepted one is answered REPLAYED or CONFLICT, even if the tenant's bucket is empty.

    The answer takes nothing from the bucket.
    """
    first, *others = (trigger(tenant="shop", rate=SLOW) for _ in range(3))
    assert results(await world.store.accept([first])) == [STORED]
    assert await world.store.accept([first] * 10) == [REPLAYED] * 10
    assert results(await world.store.accept(others)) == [STORED] * 2
    assert await world.store.accept([first]) == [REPLAYED]
    assert await world.store.accept([trigger(id=first.id, body_hash="other", rate=SLOW)]) == [CONFLICT]
    assert results(await world.store.accept([trigger(tenant="shop", rate=SLOW)])) == [LIMITED]


async def test_tenants_have_buckets_of_their_own_and_most_have_none(world: World) -> None:
    assert LIMITED in results(await world.store.accept([trigger(tenant="loud", rate=SLOW) for _ in range(9)]))
    assert results(await world.store.accept([trigger(tenant="quiet", rate=SLOW) for _ in range(3)])) == [STORED] * 3
    free = await world.store.accept([trigger(tenant="free") for _ in range(50)])
    assert results(free) == [STORED] * 50
    assert {reply.quota for reply in free} == {None}


async def test_a_changed_rate_counts_from_the_next_trigger_on(world: World) -> None:
    await world.store.accept([trigger(tenant="shop", rate=SLOW) for _ in range(4)])
    fast = AcceptRate(1_000.0, 3)
    assert results(await world.store.accept([trigger(tenant="shop", rate=SLOW)])) == [LIMITED]
    assert results(await world.store.accept([trigger(tenant="shop", rate=fast)])) == [LIMITED]  # it was empty
    await asyncio.sleep(0.01)
    assert results(await world.store.accept([trigger(tenant="shop", rate=fast)])) == [STORED]


async def test_replicas_share_one_bucket(redis_world: World, redis_url: str) -> None:
    """Four intakes post more triggers of one tenant at once than its accept rate allows, each on a connection of its
    own.

    Together they accept exactly one burst, and all other triggers are refused as over the limit.
    """
    rate, clients = AcceptRate(0.01, 40), [client(redis_url) for _ in range(4)]
    calls = [
        RedisStore(each).accept([trigger(tenant="shop", rate=rate) for _ in range(4)])
        for each in clients
        for _ in range(10)
    ]
    replies = [reply for page in await asyncio.gather(*calls) for reply in page]
    for each in clients:
        await each.aclose()
    assert results(replies).count(STORED) == 40
    assert results(replies).count(LIMITED) == 120


async def test_a_full_redis_refuses_without_using_the_rate(redis_world: World, redis_client: Any) -> None:
    async with full(redis_client):
        assert results(await redis_world.store.accept([trigger(tenant="shop", rate=SLOW)])) == [AcceptResult.FULL]
    replies = await redis_world.store.accept([trigger(tenant="shop", rate=SLOW) for _ in range(4)])
    assert results(replies) == [STORED] * 3 + [LIMITED]


async def test_the_bucket_expires_when_it_is_full_again(redis_world: World, redis_client: Any) -> None:
    await redis_world.store.accept([trigger(tenant="shop", rate=AcceptRate(10.0, 2))])
    assert 0 < await redis_client.pttl(Keys().rate("shop")) <= 1_100


@pytest.mark.parametrize("seed", range(5))
async def test_the_script_is_the_pure_model(redis_world: World, redis_client: Any, seed: int) -> None:
    """For random rates and bucket states, the script accepts or refuses, and changes the bucket, exactly as `grant`
    does.
    """
    chance = random.Random(seed)
    for _ in range(60):
        rate = AcceptRate(chance.choice((0.5, 3.0, 7.0, 250.0, 2_000.0)), chance.choice((1, 2, 10, 400)))
        paid_ms = redis_world.now_ms() + chance.uniform(-2, 2) * rate.burst * rate.each_ms
        await redis_client.set(Keys().rate("shop"), f"{paid_ms:.3f}")
        before_ms = redis_world.now_ms()
        (reply,) = await redis_world.store.accept([trigger(tenant="shop", rate=rate)])
        kept = await redis_client.get(Keys().rate("shop"))
        possible = [grant(rate, float(f"{paid_ms:.3f}"), now) for now in range(before_ms, redis_world.now_ms() + 1)]
        assert (reply.result == STORED, reply.quota) in [(granted, quota) for granted, _, quota in possible]
        assert any(abs(float(kept) - paid) < 0.01 for _, paid, _ in possible)
