"""Tests listings by state: each notification is listed once under its state, for any page size and during changes."""

from __future__ import annotations

import pytest
import redis.asyncio

from dispatcher.adapters.memory.listings import MemoryListings
from dispatcher.adapters.redis.listings import RedisListings
from dispatcher.core.life.decide import REFUSED_BY_ALL, Hold, Retry
from dispatcher.core.life.listing import LISTED, ListingFilter, Placed
from dispatcher.core.life.notification import Trail
from dispatcher.operate.listings import Listings
from dispatcher.ports import StateListings
from tests.contract.worlds import World, attempt, lanes


@pytest.fixture
def places(world: World, request: pytest.FixtureRequest) -> StateListings:
    if request.node.callspec.params["world"] == "redis":
        client: redis.asyncio.Redis = request.getfixturevalue("redis_client")
        return RedisListings(client)
    return MemoryListings(world.store._cell)


async def listed(places: StateListings, state: str, limit: int = 100, **chosen: str) -> list[Placed]:
    """Return all notifications that are listed for a state, read in pages of at most `limit`."""
    cursor, rows = None, list[Placed]()
    while True:
        page, cursor = await Listings(places).listing(ListingFilter(LISTED[state], limit=limit, **chosen), cursor)
        rows += page
        if cursor is None:
            return rows


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_each_notification_is_in_the_list_of_its_state_once(
    world: World, places: StateListings, limit: int
) -> None:
    """The pages of all states together hold each open notification once. A claimed notification is listed as queued."""
    me = await world.actor()
    refused = Trail(refusals=1)
    retried, held, given_up = await world.claimed(me, 3, recipient_id="c-7")
    await world.store.apply(me, [(retried, Retry(60_000, Trail(("a",)), attempt("a", "failed"), 1))], world.now_ms())
    await world.store.apply(me, [(held, Hold(60_000, attempt("a", "unknown"), 1))], world.now_ms())
    await world.store.apply(me, [(given_up, Retry(90_000, refused, attempt("a", "failed"), 0))], world.now_ms())
    (died,) = await world.died(me, [1000])
    (later,) = await world.queued(send_at_ms=world.now_ms() + 3_600_000)
    (claimed,) = await world.claimed(me)
    waiting = await world.queued(5) + await world.queued(2, vendor="b") + await world.queued(2, priority="bulk")
    found = {state: [row.id for row in await listed(places, state, limit)] for state in LISTED}
    assert all(len(set(ids)) == len(ids) for ids in found.values())
    assert {state: set(ids) for state, ids in found.items()} == {
        "queued": {claimed.notification.id, *waiting},
        "due": {retried.notification.id, given_up.notification.id},
        "refused_by_all": {given_up.notification.id},
        "delayed": {later},
        "scheduled": {later},
        "standby": set(),
        "held": {held.notification.id},
        "dead": {died},
    }


async def test_a_row_says_whose_it_is_why_and_until_when(world: World, places: StateListings) -> None:
    """A row shows the tenant, the caller's key and recipient id, the reason, until when it waits, and every attempt."""
    me = await world.actor()
    (claim,) = await world.claimed(me, recipient_id="c-7", idempotency_key="order-1234")
    before_ms = world.now_ms()
    await world.store.apply(me, [(claim, Retry(90_000, Trail(refusals=1), attempt("a", "failed"), 0))], before_ms)
    (row,) = await listed(places, "due")
    assert (row.tenant, row.event, row.channel, row.vendor) == ("shop", "checkout.completed", "sms", "a")
    assert (row.state, row.reason, row.idempotency_key, row.recipient_id) == (
        "due",
        REFUSED_BY_ALL,
        "order-1234",
        "c-7",
    )
    assert [line.outcome for line in row.attempts] == ["failed"]
    assert row.until_ms is not None and before_ms + 85_000 <= row.until_ms <= world.now_ms() + 90_000
    assert row.expires_ms == claim.notification.expires_ms


async def test_a_filter_leaves_out_what_does_not_match(world: World, places: StateListings) -> None:
    """A listing can be filtered by tenant, vendor, channel and reason, and then has only the rows that match."""
    mine = await world.queued(2)
    other = await world.queued(1, tenant="other")
    there = await world.queued(1, vendor="b")
    assert {row.id for row in await listed(places, "queued", tenant="shop")} == {*mine, *there}
    assert {row.id for row in await listed(places, "queued", vendor="a")} == {*mine, *other}
    assert await listed(places, "queued", channel="email") == []
    assert await listed(places, "queued", reason="refused_by_all") == []


async def test_a_position_survives_what_goes_on(world: World, places: StateListings) -> None:
    """Between two pages some notifications become held and one is added. The next page repeats no row and skips
    none.
    """
    me = await world.actor()
    await world.queued(6)
    listings, wanted = Listings(places), ListingFilter(LISTED["queued"], limit=3)
    first, cursor = await listings.listing(wanted, None)
    gone = (await world.store.claim(me, lanes("a"), 2)).claims
    await world.store.apply(me, [(claim, Hold(60_000, attempt("a", "unknown"), 1)) for claim in gone], world.now_ms())
    added = await world.queued(1)
    rest, end = await listings.listing(replace_limit(wanted, 100), cursor)
    assert end is None
    assert len({row.id for row in first} & {row.id for row in rest}) == 0
    assert len(rest) == 4 and rest[-1].id == added[0]


def replace_limit(wanted: ListingFilter, limit: int) -> ListingFilter:
    return ListingFilter(wanted.place, wanted.tenant, wanted.vendor, wanted.channel, wanted.reason, limit)


async def test_what_waits_for_its_tenants_turn_is_listed(world: World, places: StateListings) -> None:
    """With a backlog each tenant has a queue of its own. The listing shows the notifications of all queues."""
    flood = await world.queued(50, tenant="big")
    small = await world.queued(3, tenant="small")
    rows = await listed(places, "queued", 7)
    assert len(rows) == 53 and {row.id for row in rows} == {*flood, *small}


async def test_a_listing_looks_for_no_keys(redis_world: World, redis_client: redis.asyncio.Redis) -> None:
    """A listing sends no KEYS or SCAN command to Redis."""
    await redis_world.queued(30)
    await redis_client.config_resetstat()
    await listed(RedisListings(redis_client), "queued")
    calls = set(await redis_client.info("commandstats"))
    assert not {"cmdstat_keys", "cmdstat_scan", "cmdstat_hscan", "cmdstat_zscan"} & calls
