"""Tests records that this version cannot read, after a roll-back or damage. They are kept and reported, and do not stop
the work on other records.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio

from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.core.breaker.breaker import Breaker
from dispatcher.core.breaker.config import BreakerConfig
from dispatcher.core.life.look_up import Fingerprint
from dispatcher.core.life.notification import trigger_of
from dispatcher.core.life.retry import RetryPolicy
from dispatcher.deliver.attempt import Terms
from dispatcher.deliver.courier import Courier, CourierLimits
from dispatcher.deliver.maintenance import SWEEP_TOGETHER, Caretaker
from dispatcher.deliver.surroundings import Surroundings
from dispatcher.deliver.unreadable import UNREADABLE_WAIT_MS
from dispatcher.errors import RefusedError
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
    elif how == "another type":
        await client.rename(record, f"{record} aside")
        await client.set(record, "what nobody wrote")
    else:
        await client.hset(record, *DAMAGED[how])


async def mend(client: redis.asyncio.Redis, nid: str, before: dict[str, str]) -> None:
    """Make a spoilt record readable again. Fields that were written after the record was spoilt keep their values."""
    record = KEYS.record(trigger_of(nid))
    if await client.exists(f"{record} aside"):
        await client.rename(f"{record} aside", record)
    await client.hdel(record, "0.ex", "0.cr")
    await client.hset(record, mapping={name: before[name] for name in ("m", "d", "v", "x")})


DAMAGED = {
    "another version": ("v", "2"),
    "cut off": ("d", '{"to": ['),
    "x is no number": ("x", "tomorrow"),
    "ex is no number": ("0.ex", "tomorrow"),
    "a count is no number": ("0.cr", "many"),
}

SILENT = ("another shape", "another type", "x is no number", "ex is no number")
"""The kinds of damage after which a record does not say where its notification may go, or until when."""


@pytest.fixture(params=["another shape", "another type", *DAMAGED])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["another shape", *DAMAGED])
def how_inside(request: pytest.FixtureRequest) -> str:
    """Return one kind of damage to a record. After this damage the state in the record can still be read and
    written.
    """
    return str(request.param)


async def test_an_unreadable_record_does_not_strand_its_neighbours(
    redis_world: World, redis_client: redis.asyncio.Redis, how: str
) -> None:
    """One of five records is unreadable. A claim, an audit (`own`) and a take each return the other four, and report
    the unreadable one apart.
    """
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
    around = Surroundings(world.store, templates, clock, metrics)
    return Courier(vendor, breaker, around, Terms(retry), limits=CourierLimits())


async def test_what_cannot_be_read_waits_until_it_can(
    redis_world: World, redis_client: redis.asyncio.Redis, how_inside: str
) -> None:
    """An unreadable notification waits in `due` and keeps its attempts. Each time it is still unreadable, it waits
    again.

    After the record is mended, it is claimed with its attempts. Nothing is sent before.
    """
    (nid,) = await redis_world.queued(1)
    record = KEYS.record(trigger_of(nid))
    before: Any = await redis_client.hgetall(record)
    await spoil(redis_client, nid, how_inside)
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
    if how_inside in SILENT:  # it is put off again, so it does not fill the next page
        waits_ms = await redis_client.zscore(KEYS.due, nid) - redis_world.now_ms()  # type: ignore[operator]
        assert abs(waits_ms - UNREADABLE_WAIT_MS) < 5000
        await redis_client.zadd(KEYS.due, {nid: 1})
    await mend(redis_client, nid, before)
    await caretaker.promote()
    (claim,) = (await redis_world.store.claim(courier.me, lanes("a"), 10)).claims
    assert (claim.notification.attempts, claim.notification.tried) == (3, ("b", "c"))
    assert vendor.sent == []


async def test_a_started_send_of_what_cannot_be_read_is_not_put_off(
    redis_world: World, redis_client: redis.asyncio.Redis, how_inside: str
) -> None:
    """Under `hold`, a notification whose send has begun becomes unreadable. Its actor leaves it pending and does not
    put it into `due`. After the actor's death the notification becomes held.
    """
    me = await redis_world.actor()
    (claim,) = await redis_world.claimed(me, 1, on_unknown="hold")
    nid = claim.notification.id
    assert await redis_world.store.start(me, claim)
    await spoil(redis_client, nid, how_inside)
    courier = courier_of(redis_world, ScriptedVendor("a"), Metrics())
    courier.begin(me)
    await courier.admit(me, await redis_world.store.own(me, lanes("a"), set()))
    assert await redis_client.hget(KEYS.record(trigger_of(nid)), "0.st") == "started"
    await redis_world.bury(me)
    await redis_world.store.take(await redis_world.actor(), lanes("a"))
    assert await redis_client.zscore(KEYS.held, nid) > await redis_world.control.now_ms()  # type: ignore[operator]


@pytest.mark.parametrize("policy", ["resend", "hold"])
async def test_a_record_of_another_type_stays_with_who_claimed_it_until_it_is_mended(
    redis_world: World, redis_client: redis.asyncio.Redis, policy: str
) -> None:
    """The key of a record has another type, so the notification's state cannot be written. Its actor dies.

    Takes and audits of the next actor report the claim as unreadable, and nothing is sent. After the record is mended,
    the audit returns the claim.
    """
    store, owner = redis_world.store, await redis_world.actor()
    (claim,) = await redis_world.claimed(owner, 1, on_unknown=policy)
    assert await store.start(owner, claim)
    nid = claim.notification.id
    before: Any = await redis_client.hgetall(KEYS.record(trigger_of(nid)))
    await spoil(redis_client, nid, "another type")
    vendor = ScriptedVendor("a")
    courier = courier_of(redis_world, vendor, Metrics())
    await redis_world.bury(owner)
    courier.begin(await redis_world.actor())
    await courier.admit(courier.me, await store.take(courier.me, lanes("a")))
    await courier.admit(courier.me, await store.own(courier.me, lanes("a"), courier.known()))
    assert [c.notification.id for c in (await store.own(courier.me, lanes("a"), set())).unreadable] == [nid]
    await mend(redis_client, nid, before)
    (found,) = (await store.own(courier.me, lanes("a"), courier.known())).claims
    assert (found.notification.id, found.notification.state.value) == (nid, "started")
    assert vendor.sent == []


async def test_what_is_due_and_broken_holds_up_nobody(
    redis_world: World, redis_client: redis.asyncio.Redis, how: str
) -> None:
    """One of three due notifications is unreadable. The other two are promoted at once. The unreadable one is put off,
    not lost.
    """
    courier = courier_of(redis_world, ScriptedVendor("a"), Metrics())
    courier.begin(await redis_world.actor())
    ids = await redis_world.queued(3, send_at_ms=redis_world.now_ms() - 1)
    for n, nid in enumerate(ids):
        await redis_client.zadd(KEYS.delayed, {nid: n + 1})
    await spoil(redis_client, ids[0], how)
    await Caretaker(courier, redis_world.store, SystemClock(), frozenset("a")).promote()
    left = await redis_client.zrange(KEYS.delayed, 0, -1, withscores=True)
    assert [nid for nid, _ in left] == (ids[:1] if how in SILENT else [])
    assert all(abs(at_ms - redis_world.now_ms() - UNREADABLE_WAIT_MS) < 5000 for _, at_ms in left)
    assert [await redis_world.state(nid) for nid in ids[1:]] == ["queued"] * 2


async def test_what_has_expired_beside_a_broken_one_ends(
    redis_world: World, redis_client: redis.asyncio.Redis, how: str
) -> None:
    """A sweep ends expired notifications, queued and held, even if the first of them is unreadable."""
    me, at_ms = await redis_world.actor(), redis_world.now_ms()
    held = await redis_world.claimed(me, 2, on_unknown="hold")
    for claim in held:
        assert await redis_world.store.start(me, claim)
        await redis_world.store.apply(me, [(claim, hold(0))], at_ms)
        await redis_client.zadd(KEYS.held, {claim.notification.id: 1})
    ids = await redis_world.queued(3, expires_ms=at_ms - 1)
    for nid in (held[0].notification.id, ids[0]):
        await spoil(redis_client, nid, how)
    courier = courier_of(redis_world, ScriptedVendor("a"), Metrics())
    courier.begin(me)
    await Caretaker(courier, redis_world.store, SystemClock(), frozenset("a")).sweep()
    assert [await redis_world.state(nid) for nid in (*ids[1:], held[1].notification.id)] == ["dead"] * 3
    if how == "another type":  # the others' states can be written
        assert await redis_client.zrange(KEYS.held, 0, -1) == [held[0].notification.id]


class Refusing:
    """A store that refuses to withdraw the notification `nid`, as if its record were damaged."""

    def __init__(self, store: Any, nid: str) -> None:
        self._store, self._nid = store, nid

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def withdraw(self, nid: str, to: str, reason: str, **how: Any) -> str:
        if nid == self._nid:
            raise RefusedError("broken")
        return str(await self._store.withdraw(nid, to, reason, **how))


async def test_what_cannot_be_ended_holds_up_nobody(world: World) -> None:
    """An expired delayed notification cannot be ended, because the store finds it unreadable. It is tried again later
    and reported as unreadable, and is no dead letter.

    The other notifications of the same page end or are queued.
    """
    metrics = Metrics()
    courier = courier_of(world, ScriptedVendor("a"), metrics)
    courier.begin(await world.actor())
    past_ms = world.now_ms() - 1
    ids = await world.queued(2, send_at_ms=past_ms - 10, expires_ms=past_ms)
    (well,) = await world.queued(1, send_at_ms=past_ms)
    store = Refusing(world.store, ids[0])
    await Caretaker(courier, store, SystemClock(), frozenset("a")).promote()  # type: ignore[arg-type]
    assert [await world.state(nid) for nid in (*ids, well)] == ["delayed", "dead", "queued"]
    assert (await world.store.due())[1] == []
    assert ["dispatcher_unreadable", ("a",), 1.0] in metrics.snapshot()["c"]


async def test_a_sweep_goes_on_past_what_it_cannot_end(world: World) -> None:
    """One expired notification of a page cannot be ended. A sweep ends all others."""
    courier = courier_of(world, ScriptedVendor("a"), Metrics())
    courier.begin(await world.actor())
    ids = await world.queued(2 * SWEEP_TOGETHER, expires_ms=world.now_ms() - 1)
    store = Refusing(world.store, ids[0])
    await Caretaker(courier, store, SystemClock(), frozenset("a")).sweep()  # type: ignore[arg-type]
    assert [await world.state(nid) for nid in ids] == ["queued", *["dead"] * (len(ids) - 1)]


async def test_a_twin_that_is_broken_does_not_stop_the_other(
    redis_world: World, redis_client: redis.asyncio.Redis
) -> None:
    """Two equal notifications (twins) start under `hold`, and the record of the first is damaged.

    The second may be sent, and its record is marked as a twin.
    """
    me, print_ = await redis_world.actor(), Fingerprint("same text", 60_000)
    one, two = await redis_world.claimed(me, 2, on_unknown="hold")
    assert await redis_world.store.start(me, one, print_)
    await spoil(redis_client, one.notification.id, "another type")
    assert await redis_world.store.start(me, two, print_)
    assert await redis_client.hget(KEYS.record(trigger_of(two.notification.id)), "0.tw") == "1"


@pytest.mark.parametrize("how", ["another shape", "another type"])
async def test_a_dead_letter_that_cannot_be_read_is_listed(
    redis_world: World, redis_client: redis.asyncio.Redis, how: str
) -> None:
    """A dead letter whose record is damaged is listed with empty fields. Its neighbour is listed whole."""
    me = await redis_world.actor()
    one, two = await redis_world.claimed(me, 2)
    for claim in (one, two):
        await redis_world.store.apply(me, [(claim, replace(dead(), reason="poison"))], redis_world.now_ms())
    await spoil(redis_client, one.notification.id, how)
    found = {letter.id: letter for letter in await redis_world.letters()}
    assert found[one.notification.id].event == ""
    assert found[one.notification.id].reason == ("poison" if how == "another shape" else "")
    assert found[two.notification.id].event
    routes = await redis_world.views.routing_of([one.notification.id, two.notification.id])
    assert [chain for chain, _, _ in routes] == [(), two.notification.chain]


async def test_what_is_held_and_cannot_be_read_is_not_looked_up(
    redis_world: World, redis_client: redis.asyncio.Redis, how: str
) -> None:
    """A held notification has an unreadable record. `held` does not return it, so no look-up is made for it.

    Such a look-up might find another message.
    """
    me = await redis_world.actor()
    (claim,) = await redis_world.claimed(me, 1, on_unknown="hold")
    assert await redis_world.store.start(me, claim)
    await redis_world.store.apply(me, [(claim, hold(60_000))], redis_world.now_ms())
    assert len(await redis_world.store.held([claim.notification.id])) == 1
    await spoil(redis_client, claim.notification.id, how)
    assert await redis_world.store.held([claim.notification.id]) == []
