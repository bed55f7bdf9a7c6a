"""Tests that the backlog counts every notification that was accepted and has not ended, wherever it waits."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import redis.asyncio

from dispatcher.adapters.redis import control as control_module
from dispatcher.core.life.backlog import Backlog
from dispatcher.ports import STORED
from tests.contract.worlds import World, attempt, dead, hold, move, retry, settle, trigger

MINUTE_MS = 60_000


async def box(world: World, name: str = "a") -> Backlog:
    found: Backlog = (await world.control.backlog())[name]
    return found


async def test_a_notification_counts_wherever_it_waits(world: World) -> None:
    """Queued, claimed, due and held notifications count as waiting in the backlog. Delayed notifications are counted
    apart.
    """
    me = await world.actor()
    _, due, held = await world.claimed(me, 3)
    await world.store.apply(me, [(due, retry(MINUTE_MS)), (held, hold(MINUTE_MS))], world.now_ms())
    assert await world.store.accept([trigger(send_at_ms=world.now_ms() + MINUTE_MS)]) == [STORED]
    await world.queued(2)
    found = await box(world)
    assert found.counts == {"queued": 3, "due": 1, "held": 1, "delayed": 1}
    assert found.waiting == 5


async def test_what_has_ended_does_not_count(world: World) -> None:
    """Settled and dead notifications count in no backlog. A moved notification counts only in its new mailbox."""
    me = await world.actor()
    sent, died, moved = await world.claimed(me, 3)
    endings = [(sent, settle()), (died, dead()), (moved, move("b"))]
    await world.store.apply(me, endings, world.now_ms())
    assert (await box(world)).waiting == 0
    assert (await box(world, "b")).counts["queued"] == 1


async def test_age_counts_from_the_first_call_and_not_from_the_last_retry(world: World) -> None:
    """The first call for a notification failed an hour ago. The backlog shows an age of an hour, both while the
    notification is due and after it is back in the mailbox.
    """
    me = await world.actor()
    (claim,) = await world.claimed(me)
    first = replace(attempt(outcome="failed", message_id=None), at_ms=world.now_ms() - 60 * MINUTE_MS)
    await world.store.apply(me, [(claim, replace(retry(-5), attempt=first))], world.now_ms())
    found = await box(world)
    assert 60 * MINUTE_MS <= found.ages_ms["due"] < 61 * MINUTE_MS
    assert found.oldest_age_ms == found.ages_ms["due"]
    _, entries = await world.store.due()
    await world.store.promote([(entry, "a") for entry in entries])
    found = await box(world)
    assert found.counts["due"] == 0 and 60 * MINUTE_MS <= found.ages_ms["queued"] < 61 * MINUTE_MS
    assert found.ready_ms < MINUTE_MS, "it became ready a moment ago"


async def test_what_waits_by_its_callers_wish_is_not_old(world: World) -> None:
    """A trigger was accepted an hour ago, and its `send_at` is still to come. It adds nothing to the age of a
    backlog.
    """
    early = world.now_ms() - 60 * MINUTE_MS
    assert await world.store.accept([trigger(accepted_ms=early, send_at_ms=world.now_ms() + MINUTE_MS)]) == [STORED]
    found = await box(world)
    assert (found.waiting, found.oldest_age_ms, found.ready_ms, found.due_ms) == (0, 0, 0, None)


async def test_what_waits_for_its_next_try_is_not_ready(world: World) -> None:
    """A due notification is not ready before its retry time. Afterwards the backlog shows for how long it has been
    ready.
    """
    me = await world.actor()
    later, now = await world.claimed(me, 2)
    await world.store.apply(me, [(later, retry(MINUTE_MS))], world.now_ms())
    found = await box(world)
    assert found.due_ms is not None and MINUTE_MS - 5000 < found.due_ms - world.now_ms() <= MINUTE_MS
    await world.store.apply(me, [(now, retry(-2 * MINUTE_MS))], world.now_ms())
    found = await box(world)
    assert 2 * MINUTE_MS <= found.ready_ms < 3 * MINUTE_MS


async def test_a_large_backlog_is_counted_whole_and_read_in_part(
    redis_world: World, redis_client: redis.asyncio.Redis
) -> None:
    """40 notifications are due. All are counted, although only six of them are read, and the oldest is found, although
    it comes last.
    """
    me = await redis_world.actor()
    claims = await redis_world.claimed(me, 40)
    old = replace(attempt(outcome="failed", message_id=None), at_ms=redis_world.now_ms() - 9 * MINUTE_MS)
    fresh = replace(old, at_ms=redis_world.now_ms())
    waits = [(claim, replace(retry(n * 1000), attempt=fresh)) for n, claim in enumerate(claims[:-1])]
    await redis_world.store.apply(me, [*waits, (claims[-1], replace(retry(99_000), attempt=old))], redis_world.now_ms())
    with mock.patch.object(control_module, "LOOKED_AT", 6):
        found = await box(redis_world)
    assert found.counts["due"] == 40
    assert found.ages_ms["due"] >= 9 * MINUTE_MS


async def test_a_damaged_record_stops_no_count(redis_world: World, redis_client: redis.asyncio.Redis) -> None:
    """A notification's record is no hash, or is missing. The backlog counts this notification under the mailbox "", and
    counts the other notifications as usual.
    """
    await redis_world.queued(1)
    await redis_client.set("{nd:0}:t:0-broken", "text")
    await redis_client.zadd("{nd:0}:due", {"0-broken.0": 1, "0-nobody.0": 1, "nonsense": 1})
    found = await redis_world.control.backlog()
    assert (found["a"].counts["queued"], found[""].counts["due"]) == (1, 3)


async def test_a_view_says_by_which_names_its_caller_knows_it(world: World) -> None:
    """A trigger's view and a dead letter show the caller's idempotency key and recipient id.

    After the letter is discarded, only the key is shown, because the recipient id is personal data.
    """
    me = await world.actor()
    (claim,) = await world.claimed(me, idempotency_key="ORDER-1", recipient_id="cust-7")
    trigger_id = claim.notification.id[:-2]
    view = await world.views.trigger(trigger_id)
    assert (view.idempotency_key, view.recipient_id) == ("ORDER-1", "cust-7")
    await world.store.apply(me, [(claim, dead())], world.now_ms())
    (letter,) = await world.letters()
    assert (letter.idempotency_key, letter.recipient_id) == ("ORDER-1", "cust-7")
    await world.views.discard([letter])
    view = await world.views.trigger(trigger_id)
    assert (view.idempotency_key, view.recipient_id) == ("ORDER-1", None)


async def test_a_view_says_until_when_it_waits(world: World) -> None:
    """A view shows until when a due, held or delayed notification waits. A queued notification has no such time."""
    me = await world.actor()
    due, held = await world.claimed(me, 2)
    await world.store.apply(me, [(due, retry(MINUTE_MS)), (held, hold(5 * MINUTE_MS))], world.now_ms())
    later = trigger(send_at_ms=world.now_ms() + 9 * MINUTE_MS)
    assert await world.store.accept([later]) == [STORED]
    (queued,) = await world.queued()
    ids = (due.notification.id, held.notification.id, f"{later.id}.0")
    for nid, minutes in zip(ids, (1, 5, 9), strict=True):
        until_ms = (await world.views.trigger(nid[:-2])).notifications[0].until_ms
        assert minutes * MINUTE_MS - 5000 < until_ms - world.now_ms() <= minutes * MINUTE_MS
    assert (await world.views.trigger(queued[:-2])).notifications[0].until_ms is None
