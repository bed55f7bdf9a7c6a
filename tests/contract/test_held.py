"""Tests what the store tells about held notifications.

A start mark says which vendor was about to be called, and when. A *twin* is a notification with the same fingerprint
that was started at about the same time. A look-up cannot tell twins apart.
"""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio

from dispatcher.adapters.redis.keys import Keys
from dispatcher.core.life.look_up import Fingerprint
from dispatcher.core.life.notification import Claim, State
from tests.contract.worlds import World, full, hold, lanes, move, retry

PRINT = Fingerprint("p", 60_000)


async def started(world: World, me: str, print_: Fingerprint | None = PRINT) -> Claim:
    (claim,) = await world.claimed(me, on_unknown="hold")
    assert await world.store.start(me, claim, print_)
    return claim


async def held(world: World, me: str, print_: Fingerprint | None = PRINT, wait_ms: int = 60_000) -> str:
    """Start a notification, make it held for `wait_ms` milliseconds, and return its id."""
    claim = await started(world, me, print_)
    await world.store.apply(me, [(claim, hold(wait_ms))], world.now_ms())
    return claim.notification.id


async def test_what_is_held_comes_with_its_start_mark(world: World) -> None:
    """`held` returns the whole notification, the vendor that was about to be called, and the time of the start."""
    me = await world.actor()
    before_ms = world.now_ms()
    nid = await held(world, me)
    (found,) = await world.store.held([nid])
    assert (found.notification.id, found.notification.state, found.vendor, found.twin) == (nid, State.HELD, "a", False)
    assert found.notification.to.startswith("+49")
    assert found.notification.data == {"order": "1234", "name": "Ädä"}
    assert before_ms - 5 <= found.started_ms <= world.now_ms() + 5


async def test_held_ones_are_paged_by_deadline(world: World) -> None:
    """`held_ids` returns held notifications by their deadlines, the earliest first, in pages that may begin
    anywhere.
    """
    me = await world.actor()
    late, soon, middle = [await held(world, me, None, wait_ms) for wait_ms in (90_000, 30_000, 60_000)]
    page = await world.store.held_ids(0, 10)
    assert [nid for nid, _ in page] == [soon, middle, late]
    assert abs(page[0][1] - world.now_ms() - 30_000) < 2000
    assert await world.store.held_ids(1, 1) == page[1:2]
    assert await world.store.held_ids(3, 10) == []


async def test_one_that_is_held_no_more_is_not_told_about(world: World) -> None:
    """`held` leaves out notifications that have ended, were never held or do not exist, and returns the others."""
    me = await world.actor()
    ended, stays = await held(world, me, None), await held(world, me, None)
    await world.store.withdraw(ended, "settled", "receipt")
    (queued,) = await world.queued()
    assert [h.notification.id for h in await world.store.held([ended, queued, "0-nobody.0", stays])] == [stays]


async def test_one_whose_sender_died_is_told_about_too(world: World) -> None:
    """An actor dies after it has set the start mark of a `hold` notification. The notification becomes held.

    The store's method `held` returns the notification with the vendor that was called.
    """
    dying, me = await world.actor(), await world.actor("b")
    claim = await started(world, dying)
    await world.bury(dying)
    assert (await world.store.take(me, lanes("a"))).claims == []
    (found,) = await world.store.held([claim.notification.id])
    assert (found.vendor, found.twin) == ("a", False)


async def test_the_mark_is_of_the_last_start(world: World) -> None:
    """A notification was started at one vendor, moved to another vendor and started there. `held` returns the vendor of
    the last start.
    """
    me, other = await world.actor(), await world.actor("b")
    claim = await started(world, me)
    await world.store.apply(me, [(claim, move())], world.now_ms())
    (again,) = (await world.store.claim(other, lanes("b"), 1)).claims
    assert await world.store.start(other, again, PRINT)
    await world.store.apply(other, [(again, hold(60_000))], world.now_ms())
    (found,) = await world.store.held([claim.notification.id])
    assert (found.vendor, found.twin) == ("b", False)


async def test_twins_know_each_other(world: World) -> None:
    """Three notifications with the same text and recipient start soon after each other. All are marked as twins.

    A notification with another fingerprint is not.
    """
    me = await world.actor()
    ids = [await held(world, me) for _ in range(3)] + [await held(world, me, Fingerprint("other", 60_000))]
    assert [h.twin for h in await world.store.held(ids)] == [True, True, True, False]


async def test_a_twin_of_a_settled_one_is_one(world: World) -> None:
    """Two notifications have the same text and recipient, and the first of them is already settled. The second is still
    marked as a twin.
    """
    me = await world.actor()
    first = await held(world, me)
    await world.store.withdraw(first, "settled", "receipt")
    (found,) = await world.store.held([await held(world, me)])
    assert found.twin


async def test_what_was_long_ago_is_no_twin(world: World) -> None:
    """Two notifications have the same text and recipient, and the second starts long after the first. They are not
    marked as twins.
    """
    me = await world.actor()
    short = Fingerprint("p", 50)
    ids = [await held(world, me, short)]
    await asyncio.sleep(0.1)
    ids.append(await held(world, me, short))
    assert [h.twin for h in await world.store.held(ids)] == [False, False]


async def test_to_start_again_makes_no_twin_of_itself(world: World) -> None:
    """A notification that is started three times, as after a lost reply or a retry, does not count as its own twin."""
    me = await world.actor()
    claim = await started(world, me)
    assert await world.store.start(me, claim, PRINT)
    await world.store.apply(me, [(claim, retry(-5))], world.now_ms())
    (entry,) = (await world.store.due())[1]
    await world.store.promote([(entry, "a")])
    (again,) = (await world.store.claim(me, lanes("a"), 1)).claims
    assert await world.store.start(me, again, PRINT)
    await world.store.apply(me, [(again, hold(60_000))], world.now_ms())
    (found,) = await world.store.held([claim.notification.id])
    assert not found.twin


@pytest.mark.parametrize("print_", [None, PRINT])
async def test_a_start_works_on_a_full_redis(
    redis_world: World, redis_client: redis.asyncio.Redis, print_: Fingerprint | None
) -> None:
    """A notification can be marked as started on a full Redis."""
    me = await redis_world.actor()
    (claim,) = await redis_world.claimed(me, on_unknown="hold")
    async with full(redis_client):
        assert await redis_world.store.start(me, claim, print_)


async def test_a_mark_of_an_earlier_version_is_left_alone(
    redis_world: World, redis_client: redis.asyncio.Redis
) -> None:
    """A start mark of an earlier version has no time. `held` leaves such a notification out, so that no look-up asks
    about it.
    """
    nid = await held(redis_world, await redis_world.actor())
    await redis_client.hdel(Keys().record(nid.rpartition(".")[0]), "0.s")
    assert await redis_world.store.held([nid]) == []
