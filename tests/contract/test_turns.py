"""Tests that tenants take turns within a lane, and that everything which reads or writes a mailbox sees what waits for
a turn.

A lane has a backlog when one tenant has many unclaimed notifications in it. Then the notifications of each other tenant
wait in a queue of that tenant.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import redis.asyncio

from dispatcher.adapters.redis.keys import Keys
from dispatcher.core.life.notification import Lane
from dispatcher.core.limits.turns import DIRECT
from dispatcher.errors import UnavailableError
from dispatcher.ports import STORED, Applied, Promoted, Redriven
from tests.contract.worlds import CLAIMED, WITHDRAWN, World, dead, full, lanes, move, retry, settle, trigger

LANE = Lane("a", "normal")
KEY, FAIR = Keys().lane(LANE), Keys().lane(LANE._replace(fair=True))
BEFORE = DIRECT + 1
"""How many notifications of `backlogged` are claimed before another tenant's turn.

The first `DIRECT` come before all turns, and one more is the owner's first turn.
"""


async def claim(world: World, me: str, want: int, mailboxes: Sequence[str] = ("a",)) -> list[str]:
    """Claim up to `want` notifications for the actor `me` and settle them. Return their ids in the order of the
    claims.
    """
    got = await world.store.claim(me, lanes(*mailboxes), want)
    assert not got.orphans and not got.unreadable
    assert set(await world.store.apply(me, [(c, settle()) for c in got.claims], got.now_ms)) <= {Applied.DONE}
    return [c.notification.id for c in got.claims]


async def everything(world: World, me: str, at_once: int = 7) -> list[str]:
    found: list[str] = []
    while page := await claim(world, me, at_once):
        found += page
    return found


async def backlogged(world: World) -> list[str]:
    """Queue notifications of the tenant `loud` until its backlog is long enough for turns. Return their ids.

    Entries of other tenants then go to queues of their own.
    """
    return await world.queued(BEFORE, tenant="loud")


async def test_a_flood_of_one_tenant_lets_the_others_pass(world: World) -> None:
    """One tenant floods a lane (docs/faults.md, row 38), and then other tenants send.

    The lane's first entries, which came before it had a backlog, are claimed first. Then each tenant has its turn.
    """
    me = await world.actor()
    loud = await world.queued(DIRECT + 60, tenant="loud")
    quiet = await world.queued(2, tenant="quiet")
    (other,) = await world.queued(tenant="other")
    order = [*loud[: DIRECT + 1], quiet[0], other, loud[DIRECT + 1], quiet[1], *loud[DIRECT + 2 :]]
    assert await everything(world, me) == order


async def test_a_higher_lane_and_another_mailbox_are_apart(world: World) -> None:
    me, other = await world.actor("a"), await world.actor("b")
    loud = await world.queued(DIRECT + 5, tenant="loud")
    (urgent,) = await world.queued(tenant="quiet", priority="high")
    (apart,) = await world.queued(tenant="quiet", vendor="b")
    assert await claim(world, me, 100) == [urgent, *loud]
    assert await claim(world, other, 1, ("b",)) == [apart]


async def test_turns_follow_the_weights(world: World) -> None:
    me = await world.actor()
    await world.control.weigh({"gold": 3, "loud": 1})
    await backlogged(world)
    gold, loud = await world.queued(6, tenant="gold"), await world.queued(4, tenant="loud")
    await claim(world, me, BEFORE)
    assert await claim(world, me, 2) == gold[:2]
    assert await claim(world, me, 6) == [gold[2], loud[0], *gold[3:], loud[1]]
    await world.control.weigh({})
    gold, loud = await world.queued(2, tenant="gold"), loud[2:]
    assert await claim(world, me, 4) == [loud[0], gold[0], loud[1], gold[1]]


async def test_without_a_backlog_entries_go_straight_to_the_lane(redis_world: World, redis_client: Any) -> None:
    """Without a backlog, entries go into the lane's own stream and no queue is made, so a blocking read sees them at
    once.

    Entries that are claimed already are no backlog.
    """
    me = await redis_world.actor()
    for n in range(5):
        for tenant in ("one", "other"):
            await redis_world.queued(DIRECT // 2, tenant=f"{tenant}-{n}")
        assert len((await redis_world.store.claim(me, lanes("a"), 100)).claims) == DIRECT
    assert await redis_client.xlen(KEY) == 5 * DIRECT
    assert not await redis_client.exists(f"{KEY}:turns", f"{KEY}:waits", f"{KEY}:owner")


async def test_an_empty_queue_leaves_no_key(redis_world: World, redis_client: Any) -> None:
    me = await redis_world.actor()
    before = set(await redis_client.keys("*"))
    for n in range(20):
        await redis_world.queued(DIRECT, tenant=f"tenant-{n}")
    await everything(redis_world, me)
    left = {key for key in set(await redis_client.keys("*")) - before if ":mb:" in key}
    assert left <= {KEY, FAIR, *(Keys().lane(lane) for lane in lanes("a"))}


async def test_a_backlog_of_one_tenant_stays_in_the_lane(redis_world: World, redis_client: Any) -> None:
    """Many notifications of one tenant wait in a lane, and no other tenant's. They all stay in the lane's own stream.

    A claim returns them without moving or writing an entry.
    """
    me = await redis_world.actor()
    ids = await redis_world.queued(5 * DIRECT, tenant="loud")
    assert await redis_client.xlen(KEY) == 5 * DIRECT
    await redis_client.config_resetstat()
    got = (await redis_world.store.claim(me, lanes("a"), 4 * DIRECT)).claims
    stats: Any = await redis_client.info("commandstats")
    assert not {"cmdstat_hset", "cmdstat_xadd", "cmdstat_xdel"} & set(stats)
    assert [c.notification.id for c in got] == ids[: 4 * DIRECT]
    assert {c.lane for c in got} == {LANE}


async def test_an_earlier_version_left_its_backlog_in_the_lane(redis_world: World, redis_client: Any) -> None:
    """Notifications that a version without turns has stored are in the lane's stream. They are claimed first,
    in order.
    """
    me = await redis_world.actor()
    old = await redis_world.queued(DIRECT + 9, tenant="loud")
    await redis_client.delete(f"{KEY}:owner", f"{KEY}:turns")  # an earlier version wrote neither
    new = await redis_world.queued(2, tenant="quiet") + await redis_world.queued(2, tenant="loud")
    assert (await redis_world.control.depths())["a"].queued["normal"] == len(old) + 4
    assert await everything(redis_world, me) == [*old, new[0], new[2], new[1], new[3]]


async def test_an_earlier_version_may_still_write_into_the_lane(redis_world: World, redis_client: Any) -> None:
    """During an update, an intake of the earlier version writes an entry into the lane's own stream, although the lane
    has a backlog with an owner and the entry belongs into a queue. The entry is claimed all the same.
    """
    me = await redis_world.actor()
    await backlogged(redis_world)
    quiet = await redis_world.queued(2, tenant="quiet")
    await claim(redis_world, me, BEFORE)
    assert await redis_client.get(f"{KEY}:owner") == "0 -"
    (late,) = await redis_world.queued(tenant="loud")
    eid = await redis_client.xadd(KEY, {"n": late})
    await redis_client.hset(Keys().record(late.rpartition(".")[0]), mapping={"0.lane": KEY, "0.eid": eid})
    await redis_client.delete(f"{KEY}:of:loud")  # its turn stays, although its queue is gone
    assert await everything(redis_world, me) == [late, *quiet]


# ---- whoever reads or moves sees all of it


async def test_depth_and_backlog_count_what_waits_for_its_turn(world: World) -> None:
    me = await world.actor()
    ids = await backlogged(world)
    ids += await world.queued(3, tenant="quiet") + await world.queued(4, tenant="loud")
    depth = (await world.control.depths())["a"]
    assert (depth.queued["normal"], depth.claimed) == (BEFORE + 7, 0)
    assert (await world.control.backlog())["a"].counts["queued"] == BEFORE + 7
    assert await world.store.withdraw(ids[BEFORE + 1], "cancelled", "asked") == WITHDRAWN
    assert len((await world.store.claim(me, lanes("a"), BEFORE + 2)).claims) == BEFORE + 2
    depth = (await world.control.depths())["a"]
    assert (depth.queued["normal"], depth.claimed) == (BEFORE + 6, BEFORE + 2)
    await world.store.apply(me, [(c, settle()) for c in (await world.store.own(me, lanes("a"), set())).claims], 0)
    depth = (await world.control.depths())["a"]
    assert (depth.queued["normal"], depth.claimed) == (4, 0)


async def test_each_tenant_is_told_how_much_of_it_waits(world: World) -> None:
    """`waiting` returns for each tenant how many of its notifications wait for a turn. What is claimed does not count.

    Notifications from before the turns began count for no tenant.
    """
    me = await world.actor()
    assert await world.control.waiting(LANE) == {}
    await backlogged(world)
    ids = await world.queued(3, tenant="quiet")
    await world.queued(4, tenant="loud")
    assert await world.control.waiting(LANE) == {"loud": 5, "quiet": 3}
    assert await world.store.withdraw(ids[1], "cancelled", "asked") == WITHDRAWN
    await world.store.claim(me, lanes("a"), BEFORE + 1)
    assert await world.control.waiting(LANE) == {"loud": 4, "quiet": 1}
    await everything(world, me)
    assert await world.control.waiting(LANE) == {}


async def test_the_age_of_a_lane_is_that_of_the_oldest_in_any_queue(redis_world: World, redis_client: Any) -> None:
    me = await redis_world.actor()
    await backlogged(redis_world)
    await redis_world.queued(1, tenant="loud")
    (old,) = await redis_world.queued(1, tenant="old")
    await redis_client.delete(f"{KEY}:of:old")
    an_hour_ago = redis_world.now_ms() - 3_600_000
    eid = await redis_client.xadd(f"{KEY}:of:old", {"n": old}, id=f"{an_hour_ago}-0")
    await redis_client.hset(Keys().record(old.rpartition(".")[0]), "0.eid", eid)
    await claim(redis_world, me, BEFORE)
    assert 3_600_000 <= (await redis_world.control.depths())["a"].oldest_age_ms < 3_700_000
    assert 3_600_000 <= (await redis_world.control.backlog())["a"].ready_ms < 3_700_000
    assert len(await everything(redis_world, me)) == 2


async def test_what_waits_for_its_turn_can_be_withdrawn(world: World) -> None:
    """A notification that waits in a tenant's queue can be withdrawn, but not after an actor has claimed it.

    If the queue is empty afterwards, claims skip it.
    """
    me = await world.actor()
    first = await backlogged(world)
    loud, (quiet,) = await world.queued(2, tenant="loud"), await world.queued(tenant="quiet")
    assert await world.store.withdraw(quiet, "cancelled", "asked") == WITHDRAWN
    assert (await world.store.withdraw(quiet, "cancelled", "asked")).state == "cancelled"
    got = await world.store.claim(me, lanes("a"), BEFORE + 1)
    assert [c.notification.id for c in got.claims] == [*first, loud[0]]
    assert await world.store.withdraw(loud[0], "cancelled", "asked") == CLAIMED
    (again,) = await world.queued(tenant="quiet")
    assert sorted(await everything(world, me)) == sorted([loud[1], again])


async def test_many_turns_for_nothing_hold_nobody_up(world: World) -> None:
    """Three hundred tenants have each withdrawn their only notification, so their queues are empty. The next claim
    skips these queues and gets another tenant's notification.
    """
    me = await world.actor()
    await backlogged(world)
    for nid in [(await world.queued(tenant=f"tenant-{n}"))[0] for n in range(300)]:
        assert await world.store.withdraw(nid, "cancelled", "asked") == WITHDRAWN
    (nid,) = await world.queued(tenant="quiet")
    assert len(await claim(world, me, BEFORE)) == BEFORE
    assert await claim(world, me, 1) == [nid]


async def test_the_expired_are_found_in_every_queue(world: World) -> None:
    """Expired notifications are found in the lane and in every queue, each once, with pages of any size."""
    over_ms = world.now_ms() - 1
    over = await world.queued(DIRECT, tenant="loud", expires_ms=over_ms)
    for tenant in ("loud", "quiet", "other", "loud"):
        over += await world.queued(3, tenant=tenant, expires_ms=over_ms)
        await world.queued(2, tenant=tenant)
    for page in (1, 2, 5, 7, 200):
        found, cursor = list[str](), ""
        for _ in range(10 * len(over)):
            cursor, some = await world.store.expired(LANE, cursor, page)
            found += some
            if not cursor:
                break
        assert sorted(found) == sorted(over), page
    for nid in over:
        assert await world.store.withdraw(nid, "dead", "expired") == WITHDRAWN
    assert (await world.control.depths())["a"].queued["normal"] == 8


async def test_whatever_comes_into_a_lane_waits_for_its_tenants_turn(world: World) -> None:
    """A moved, a due and a redriven notification wait for their tenant's turn, and not behind the other tenant's
    backlog.
    """
    me = await world.actor()
    moved, waits, died = await world.claimed(me, 3, tenant="quiet")
    await backlogged(world)
    loud = await world.queued(4, tenant="loud")
    endings = [(moved, move("a")), (waits, retry(-5)), (died, dead())]
    assert await world.store.apply(me, endings, world.now_ms()) == [Applied.DONE] * 3
    _, entries = await world.store.due()
    assert [entry.tenant for entry in entries] == ["quiet"]
    assert await world.store.promote([(entry, "a") for entry in entries]) == [Promoted.DONE]
    (letter,) = await world.letters()
    assert await world.views.redrive([Redriven(letter, "a", "normal", world.now_ms() + 60_000)]) == 1
    await claim(world, me, BEFORE)
    mine = [claim.notification.id for claim in (moved, waits, died)]
    assert await everything(world, me) == [mine[0], loud[0], mine[1], loud[1], mine[2], loud[2], loud[3]]


async def test_a_claim_of_a_dead_actor_is_taken_from_its_turn(world: World) -> None:
    """An actor claims a notification from a tenant's queue and dies. Another actor takes it, and its crash is counted.

    The dead actor can no longer settle it.
    """
    dying, me = await world.actor(), await world.actor()
    await backlogged(world)
    (nid,) = await world.queued(tenant="quiet")
    await claim(world, me, BEFORE)
    claims = (await world.store.claim(dying, lanes("a"), 5)).claims
    assert [(c.notification.id, c.lane[:2]) for c in claims] == [(nid, LANE[:2])]
    (lost,) = claims
    assert [c.notification.id for c in (await world.store.own(dying, lanes("a"), set())).claims] == [nid]
    await world.bury(dying)
    assert await world.store.apply(me, [(lost, settle())], world.now_ms()) == [Applied.LOST]
    (taken,) = (await world.store.take(me, lanes("a"))).claims
    assert (taken.notification.id, taken.notification.crashes) == (nid, 1)
    assert await world.store.apply(me, [(taken, settle())], world.now_ms()) == [Applied.DONE]
    assert await world.state(nid) == "settled"


async def test_a_full_redis_still_hands_out_turns(redis_world: World, redis_client: Any) -> None:
    me = await redis_world.actor()
    await backlogged(redis_world)
    await redis_world.queued(2, tenant="loud")
    (nid,) = await redis_world.queued(tenant="quiet")
    await claim(redis_world, me, BEFORE)
    async with full(redis_client):
        try:
            found = (await redis_world.store.claim(me, [LANE], 1)).claims  # another lane's read would open it
        except UnavailableError as error:
            raise AssertionError(str(error)) from error
    assert [c.notification.id for c in found] == [nid]


async def test_a_destroyed_group_strands_nothing(redis_world: World, redis_client: Any) -> None:
    """The consumer group of the stream that holds entries claimed from the tenants' queues is destroyed.

    An entry that an actor had claimed from there is not lost: the next audit claims it again.
    """
    gone, me = await redis_world.actor(), await redis_world.actor()
    await backlogged(redis_world)
    (nid,) = await redis_world.queued(tenant="quiet")
    await claim(redis_world, gone, BEFORE)
    assert len((await redis_world.store.claim(gone, lanes("a"), 5)).claims) == 1
    await redis_client.xgroup_destroy(FAIR, "g")
    assert (await redis_world.store.claim(me, lanes("a"), 5)).claims == []
    (found,) = (await redis_world.store.own(me, lanes("a"), set())).claims
    assert found.notification.id == nid
    assert await redis_world.store.apply(me, [(found, settle())], 0) == [Applied.DONE]


async def test_an_entry_that_is_not_its_records_is_an_orphan(redis_world: World, redis_client: Any) -> None:
    """A queue has a second entry for a notification, and an entry without a record. Both are orphans.

    The entry that the record names is claimed.
    """
    me = await redis_world.actor()
    await backlogged(redis_world)
    (nid,) = await redis_world.queued(tenant="quiet")
    second = await redis_client.xadd(f"{KEY}:of:quiet", {"n": nid})
    await redis_client.xadd(f"{KEY}:of:quiet", {"n": "0-gone.0"})
    await claim(redis_world, me, BEFORE)
    got = await redis_world.store.claim(me, lanes("a"), 5)
    assert [c.notification.id for c in got.claims] == [nid]
    assert [orphan for _, _, orphan in got.orphans] == [nid, "0-gone.0"]
    assert {lane for lane, _, _ in got.orphans} == {LANE._replace(fair=True)}
    await redis_world.store.drop(me, got.orphans)
    assert await redis_world.store.apply(me, [(got.claims[0], settle())], got.now_ms) == [Applied.DONE]
    assert await redis_client.xlen(FAIR) == 0 and second


async def test_a_record_of_another_kind_does_not_hold_up_its_neighbours(redis_world: World, redis_client: Any) -> None:
    me = await redis_world.actor()
    await backlogged(redis_world)
    broken, fine = await redis_world.queued(2, tenant="quiet")
    await claim(redis_world, me, BEFORE)
    await redis_client.set(Keys().record(broken.rpartition(".")[0]), "no hash")
    got = await redis_world.store.claim(me, lanes("a"), 5)
    assert [c.notification.id for c in got.unreadable] == [broken]
    assert [c.notification.id for c in got.claims] == [fine]


# ---- the scripts agree with the pure model


@pytest.mark.parametrize("seed", range(8))
async def test_redis_and_the_model_hand_out_the_same(redis_world: World, memory_world: World, seed: int) -> None:
    """For random accepts, claims, withdrawals, moves and weights, Redis and the memory store claim the same ids in the
    same order.

    The memory store chooses by the pure model, `core.limits.turns.serve`.
    """
    chance = random.Random(seed)
    tenants = [f"tenant {n}" for n in range(chance.choice((1, 3, 12)))]
    both = (redis_world, memory_world)
    actors = [await world.actor() for world in both]
    known: list[str] = []
    told: dict[str, list[str]] = {tenant: [] for tenant in tenants}
    for _ in range(150):
        step, tenant = chance.random(), chance.choice(tenants)
        if step < 0.5:
            burst = [trigger(tenant=tenant) for _ in range(chance.choice((1, 2, 40)))]
            known += [f"{new.id}.0" for new in burst]
            told[tenant] += [f"{new.id}.0" for new in burst]
            for world in both:
                assert await world.store.accept(burst) == [STORED] * len(burst)
        elif step < 0.85:
            want, ending = chance.choice((1, 3, 8, 64)), chance.choice((settle(), settle(), move("a")))
            got = [await world.store.claim(me, lanes("a"), want) for world, me in zip(both, actors, strict=True)]
            ids = [[c.notification.id for c in page.claims] for page in got]
            assert ids[0] == ids[1]
            for world, me, page in zip(both, actors, got, strict=True):
                done = await world.store.apply(me, [(c, ending) for c in page.claims], page.now_ms)
                assert set(done) <= {Applied.DONE}
            _in_order(told, ids[0], again=ending != settle())
        elif step < 0.95 and known:
            nid = chance.choice(known)
            words = {await world.store.withdraw(nid, "cancelled", "asked") for world in both}
            assert len(words) == 1
        else:
            weights = {tenant: chance.randint(1, 5) for tenant in tenants}
            for world in both:
                await world.control.weigh(weights)
        depths = [(await world.control.depths()).get("a") for world in both]
        assert len({str(depth and (depth.queued, depth.claimed)) for depth in depths}) == 1


def _in_order(told: dict[str, list[str]], ids: list[str], again: bool) -> None:
    """Assert that each tenant's ids come in the order of `told`. Remove them, or put them at the end if `again` is
    True.
    """
    for order in told.values():
        mine = [nid for nid in ids if nid in order]
        places = [order.index(nid) for nid in mine]
        assert places == sorted(places)
        for nid in mine:
            order.remove(nid)
            if again:
                order.append(nid)


async def test_the_cost_of_a_claim_does_not_follow_the_number_of_tenants(
    redis_world: World, redis_client: redis.asyncio.Redis
) -> None:
    """A claim of ten runs at most five more Redis commands with a thousand waiting tenants than with ten."""
    me = await redis_world.actor()
    found = []
    for count in (10, 1_000):
        await backlogged(redis_world)
        await redis_world.store.accept([trigger(tenant=f"{count}-{n}") for n in range(count)])
        await claim(redis_world, me, BEFORE)
        await redis_client.config_resetstat()
        assert len((await redis_world.store.claim(me, lanes("a"), 10)).claims) == 10
        stats: Any = await redis_client.info("commandstats")
        found.append(sum(row["calls"] for name, row in stats.items() if name != "cmdstat_config|resetstat"))
        await everything(redis_world, me, 100)
    assert found[1] <= found[0] + 5
