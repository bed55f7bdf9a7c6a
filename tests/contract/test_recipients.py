"""Tests a trigger for several recipients: it is stored as a whole or not at all, and each notification ends by
itself.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.asyncio

from dispatcher.adapters.redis.keys import Keys
from dispatcher.core.life.notification import Lane, NewNotification, NewTrigger, Person
from dispatcher.core.life.sms_text import SmsSize
from dispatcher.operate.triggers import Triggers
from dispatcher.ports import STORED, Applied, Withdrawal, WithdrawResult
from tests.contract.worlds import FAILED, FULL, REPLAYED, World, dead, full, lanes, settle, trigger


def several(count: int = 3, each: int = 2, **changes: Any) -> NewTrigger:
    """Return a trigger for `count` recipients with `each` SMS for each of them.

    The first SMS of a recipient has a template, and the others have a text.
    """
    notifications = tuple(
        NewNotification("sms", f"+4915112{n:05}", ("a", "b"), "a", "receipt", 3, sms=SmsSize("gsm", 1), person=n)
        if place == 0
        else NewNotification("sms", f"+4915113{n:05}", ("a",), "a", content={"text": f"{place}"}, person=n)
        for n in range(count)
        for place in range(each)
    )
    people = tuple(Person(f"c-{n}", f"l-{n}") for n in range(count))
    return trigger(notifications=notifications, people=people, **changes)


async def test_each_is_claimed_with_what_is_its_own(world: World) -> None:
    """Each claimed notification has the address, content, template and locale of its recipient. The view shows the
    recipient.
    """
    me, posted = await world.actor(), several()
    assert await world.store.accept([posted]) == [STORED]
    claims = (await world.store.claim(me, lanes("a"), 10)).claims
    found = [(c.notification.to, c.notification.locale, c.notification.content, c.notification.chain) for c in claims]
    assert found == [
        (n.to, f"l-{n.person}", n.content if n.content is None else dict(n.content), n.chain)
        for n in posted.notifications
    ]
    view = await world.views.trigger(posted.id)
    assert [(n.recipient, n.recipient_id) for n in view.notifications] == [(n, f"c-{n}") for n in (0, 0, 1, 1, 2, 2)]
    assert [n.sms for n in view.notifications] == [n.sms for n in posted.notifications]
    assert view.recipient_id is None


async def test_each_ends_by_itself(world: World) -> None:
    """A trigger has several recipients. One of its notifications is settled and another dies. The others stay queued,
    and the dead letter names its recipient.
    """
    me, posted = await world.actor(), several()
    await world.store.accept([posted])
    claims = (await world.store.claim(me, lanes("a"), 4)).claims
    decided = [(claims[0], settle()), (claims[3], dead())]
    assert await world.store.apply(me, decided, world.now_ms()) == [Applied.DONE] * 2
    states = [n.state for n in (await world.views.trigger(posted.id)).notifications]
    assert states == ["settled", "queued", "queued", "dead", "queued", "queued"]
    (letter,) = await world.letters()
    assert (letter.id, letter.channel, letter.recipient_id) == (f"{posted.id}.3", "sms", "c-1")
    (routing,) = await world.views.routing_of([letter.id])
    assert routing.chain == ("a",)


async def test_the_most_that_a_trigger_may_hold_is_stored(world: World) -> None:
    """A trigger for 100 recipients with five notifications each, under `hold`, is stored and shown."""
    posted = several(100, 5, on_unknown="hold")
    assert await world.store.accept([posted]) == [STORED]
    assert await world.store.accept([posted]) == [REPLAYED]
    view = await world.views.trigger(posted.id)
    assert [n.state for n in view.notifications] == ["queued"] * 500
    assert (await world.control.depths())["a"].total == 500


async def test_each_may_have_its_own_time(world: World) -> None:
    """Each notification of a trigger may have a `send_at` and an expiry time of its own. One of two is queued at once,
    and the other is delayed.
    """
    now_ms = world.now_ms()
    one, two = several(2, 1).notifications
    posted = several(2, 1)
    parts = (_timed(one, None, now_ms + 5_000), _timed(two, now_ms + 50, now_ms + 60_000))
    posted = trigger(notifications=parts, people=posted.people)
    assert await world.store.accept([posted]) == [STORED]
    assert [n.state for n in (await world.views.trigger(posted.id)).notifications] == ["queued", "delayed"]
    (claim,) = (await world.store.claim(await world.actor(), lanes("a"), 5)).claims
    assert claim.notification.expires_ms == now_ms + 5_000
    await asyncio.sleep(0.1)
    (entry,) = (await world.store.due()).entries
    assert (entry.id, entry.expires_ms, entry.chain) == (f"{posted.id}.1", now_ms + 60_000, two.chain)


def _timed(n: NewNotification, send_at_ms: int | None, expires_ms: int) -> NewNotification:
    return NewNotification(
        n.channel, n.to, n.chain, n.vendor, n.template, 3, person=n.person, send_at_ms=send_at_ms, expires_ms=expires_ms
    )


async def test_a_cancel_withdraws_all_of_it(world: World) -> None:
    """A cancel withdraws the notifications of all recipients. Only the notification that an actor has already claimed
    is sent, and the result for it is "too late".
    """
    me, posted = await world.actor(), several(20, 2)
    await world.store.accept([posted])
    await world.store.claim(me, lanes("a"), 1)
    results = await Triggers(world.views, world.store).cancel("shop", posted.id)
    assert [one.result for one in results] == ["too late", *["cancelled"] * 39]
    assert [one.id for one in results] == [f"{posted.id}.{n}" for n in range(40)]
    again = await world.store.withdraw(f"{posted.id}.5", "cancelled", "cancelled")
    assert again == Withdrawal(WithdrawResult.ENDED, "cancelled")


async def test_nothing_of_it_is_stored_if_something_fails(
    redis_world: World, redis_client: redis.asyncio.Redis
) -> None:
    """If Redis is full or one lane cannot be written, the trigger is not stored, and no notification can be claimed."""
    async with full(redis_client):
        assert await redis_world.store.accept([several(100, 5)]) == [FULL]
        assert await redis_client.keys("*") == []
    posted = several()
    parts = [*posted.notifications[:-1], NewNotification("sms", "+491511299", ("wrong",), "wrong", "receipt", 3)]
    await redis_client.set(Keys().lane(Lane("wrong", "normal")), "no stream")
    assert await redis_world.store.accept([trigger(notifications=tuple(parts), people=posted.people)]) == [FAILED]
    got = await redis_world.store.claim(await redis_world.actor(), lanes("a"), 10)
    assert (got.claims, len(got.orphans)) == ([], 5)


@pytest.mark.parametrize("count", [1, 100])
async def test_a_record_does_not_grow_with_the_square(
    redis_world: World, redis_client: redis.asyncio.Redis, count: int
) -> None:
    """The fields that every claim reads grow by at most 70 bytes for each recipient."""
    posted = several(count, 2)
    await redis_world.store.accept([posted])
    common = await redis_client.hmget(Keys().record(posted.id), ["m", "d"])
    assert sum(map(len, common)) < 500 + 70 * count
