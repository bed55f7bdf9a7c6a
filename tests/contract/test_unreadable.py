"""Records that this version cannot read, after a roll-back or damage: kept, told of, and in nobody's way."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio

from dispatcher.adapters.clock import SystemClock
from dispatcher.adapters.redis.keys import Keys
from dispatcher.caretaker import Caretaker
from dispatcher.core.breaker import Breaker, BreakerConfig
from dispatcher.core.notification import trigger_of
from dispatcher.core.retry import RetryPolicy
from dispatcher.courier import UNREADABLE_WAIT_MS, Courier, CourierLimits
from dispatcher.telemetry.metrics import Metrics
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.store import MemoryTemplateStore
from tests.contract.worlds import World, dead, hold, lanes
from tests.unit.stage import ScriptedVendor

KEYS = Keys()


async def spoil(client: redis.asyncio.Redis, nid: str, how: str) -> None:
    record = KEYS.record(trigger_of(nid))
    if how == "another shape":
        meta = json.loads(await client.hget(record, "m"))  # type: ignore[arg-type]
        await client.hset(record, "m", json.dumps({**meta, "n": "of version 2"}))
    elif how == "another version":
        await client.hset(record, "v", "2")
    else:
        await client.hset(record, "d", '{"to": [')


@pytest.fixture(params=["another shape", "another version", "cut off"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_an_unreadable_record_does_not_strand_its_neighbours(
    redis_world: World, redis_client: redis.asyncio.Redis, how: str
) -> None:
    """Of five that are claimed, found by the audit or taken, the other four are as always."""
    store = redis_world.store
    ids = await redis_world.queued(5)
    await spoil(redis_client, ids[2], how)
    rest = [nid for nid in ids if nid != ids[2]]
    me = await redis_world.actor()
    for got in (await store.claim(me, lanes("a"), 10), await store.own(me, lanes("a"), set())):
        assert [claim.notification.id for claim in got.claims] == rest
        assert [claim.notification.id for claim in got.unreadable] == [ids[2]]
        assert got.orphans == []
    await redis_world.bury(me)
    got = await store.take(await redis_world.actor(), lanes("a"))
    assert [claim.notification.id for claim in got.claims] == rest
    assert [claim.notification.id for claim in got.unreadable] == [ids[2]]


def courier_of(world: World, vendor: ScriptedVendor, metrics: Metrics) -> Courier:
    clock = SystemClock()
    breaker = Breaker(BreakerConfig(), int(clock.now_s() * 1e9))
    templates = TemplateCache(MemoryTemplateStore())
    retry = RetryPolicy()
    return Courier(vendor, breaker, world.store, templates, clock, metrics, CourierLimits(), retry, lambda: 0.5)


async def test_what_cannot_be_read_waits_until_it_can(
    redis_world: World, redis_client: redis.asyncio.Redis, how: str
) -> None:
    """In `due`, with what was counted of it so far, however often a version looks that cannot read it."""
    (nid,) = await redis_world.queued(1)
    record = KEYS.record(trigger_of(nid))
    before: Any = await redis_client.hgetall(record)
    await spoil(redis_client, nid, how)
    await redis_client.hset(record, mapping={"0.n": 3, "0.tr": "b c"})
    metrics, vendor = Metrics(), ScriptedVendor("a")
    courier = courier_of(redis_world, vendor, metrics)
    courier.begin(await redis_world.actor())
    await courier.admit(courier.me, await redis_world.store.claim(courier.me, lanes("a"), 10))
    assert ["dispatcher_unreadable", ("a",), 1.0] in metrics.snapshot()["c"]
    assert await redis_client.hmget(record, ["0.st", "0.n", "0.tr"]) == ["due", "3", "b c"]
    waits_ms = await redis_client.zscore(KEYS.due, nid) - redis_world.now_ms()  # type: ignore[operator]
    assert abs(waits_ms - UNREADABLE_WAIT_MS) < 5000
    await redis_client.zadd(KEYS.due, {nid: 1})
    caretaker = Caretaker(courier, redis_world.store, SystemClock(), frozenset("a"))
    await caretaker.promote()
    if how == "another shape":  # its chain is not known: it is looked at again later, and the next page is not it
        waits_ms = await redis_client.zscore(KEYS.due, nid) - redis_world.now_ms()  # type: ignore[operator]
        assert abs(waits_ms - UNREADABLE_WAIT_MS) < 5000
        await redis_client.zadd(KEYS.due, {nid: 1})
    await redis_client.hset(record, mapping={name: before[name] for name in ("m", "d", "v")})
    await caretaker.promote()
    (claim,) = (await redis_world.store.claim(courier.me, lanes("a"), 10)).claims
    assert (claim.notification.attempts, claim.notification.tried) == (3, ("b", "c"))
    assert vendor.sent == []


async def test_a_started_send_of_what_cannot_be_read_is_not_put_off(
    redis_world: World, redis_client: redis.asyncio.Redis, how: str
) -> None:
    """Under `hold` it is maybe sent: it stays pending, and is held when its actor has ended."""
    me = await redis_world.actor()
    (claim,) = await redis_world.claimed(me, 1, on_unknown="hold")
    nid = claim.notification.id
    assert await redis_world.store.start(me, claim)
    await spoil(redis_client, nid, how)
    courier = courier_of(redis_world, ScriptedVendor("a"), Metrics())
    courier.begin(me)
    await courier.admit(me, await redis_world.store.own(me, lanes("a"), set()))
    assert await redis_client.hget(KEYS.record(trigger_of(nid)), "0.st") == "started"
    await redis_world.bury(me)
    await redis_world.store.take(await redis_world.actor(), lanes("a"))
    assert await redis_client.zscore(KEYS.held, nid) is not None


async def test_a_dead_letter_that_cannot_be_read_is_listed(
    redis_world: World, redis_client: redis.asyncio.Redis
) -> None:
    """Without what is not known of it; its neighbours whole."""
    me = await redis_world.actor()
    one, two = await redis_world.claimed(me, 2)
    for claim in (one, two):
        await redis_world.store.apply(me, [(claim, replace(dead(), reason="poison"))], redis_world.now_ms())
    await spoil(redis_client, one.notification.id, "another shape")
    found = {letter.id: letter for letter in await redis_world.letters()}
    assert (found[one.notification.id].event, found[one.notification.id].reason) == ("", "poison")
    assert found[two.notification.id].event
    routes = await redis_world.views.routing_of([one.notification.id, two.notification.id])
    assert [chain for chain, _, _ in routes] == [(), two.notification.chain]


async def test_what_is_held_and_cannot_be_read_is_not_looked_up(
    redis_world: World, redis_client: redis.asyncio.Redis, how: str
) -> None:
    """By what this version takes it for, another message might be found."""
    me = await redis_world.actor()
    (claim,) = await redis_world.claimed(me, 1, on_unknown="hold")
    assert await redis_world.store.start(me, claim)
    await redis_world.store.apply(me, [(claim, hold(60_000))], redis_world.now_ms())
    assert len(await redis_world.store.held([claim.notification.id])) == 1
    await spoil(redis_client, claim.notification.id, how)
    assert await redis_world.store.held([claim.notification.id]) == []
