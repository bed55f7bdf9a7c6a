"""Tests notifications that wait, and withdrawals: due, delayed, held, dead, expired."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import redis.asyncio

from dispatcher.adapters.redis import store as store_module
from dispatcher.adapters.redis.store import MOVES_FOLLOWED
from dispatcher.core.life.dead_letter import DeadLetterFilter
from dispatcher.core.life.notification import Lane
from dispatcher.ports import STORED, Applied, Promoted, Redriven, Withdrawal, WithdrawResult
from tests.contract.worlds import CLAIMED, WITHDRAWN, World, dead, hold, lanes, move, retry, settle, trigger


async def test_a_delayed_trigger_waits(world: World) -> None:
    """A trigger with `send_at` is in no mailbox before its time. When it is due, it can be promoted and claimed."""
    now_ms = world.now_ms()
    past, future = trigger(send_at_ms=now_ms - 5), trigger(send_at_ms=now_ms + 60_000)
    assert await world.store.accept([past, future]) == [STORED, STORED]
    me = await world.actor()
    assert (await world.store.claim(me, lanes("a"), 5)).claims == []
    assert await world.state(f"{future.id}.0") == "delayed"
    _, (entry,) = await world.store.due()
    assert (entry.id, entry.delayed) == (f"{past.id}.0", True)
    assert await world.store.promote([(entry, "b")]) == [Promoted.DONE]
    (claim,) = (await world.store.claim(me, lanes("b"), 5)).claims
    assert claim.notification.id == entry.id


async def test_a_promotion_happens_once(world: World) -> None:
    """The same due entry is promoted twice. The second promotion is answered GONE, and one entry can be claimed."""
    me = await world.actor()
    (claim,) = await world.claimed(me)
    await world.store.apply(me, [(claim, retry(-5))], world.now_ms())
    _, (entry,) = await world.store.due()
    assert await world.store.promote([(entry, "a"), (entry, "b")]) == [Promoted.DONE, Promoted.GONE]
    assert await world.store.promote([(entry, "a")]) == [Promoted.GONE]
    assert len((await world.store.claim(me, lanes("a", "b"), 5)).claims) == 1


async def test_a_promotion_read_before_another_retry_is_gone(world: World) -> None:
    """An actor reads an entry of `due`. Meanwhile the notification is sent, and waits for its next retry as a new
    entry.

    A promotion of the old entry is answered GONE, and the notification stays due.
    """
    me = await world.actor()
    (claim,) = await world.claimed(me)
    await world.store.apply(me, [(claim, retry(-5))], world.now_ms())
    _, (stale,) = await world.store.due()
    await world.store.promote([(stale, "a")])
    (again,) = (await world.store.claim(me, lanes("a"), 5)).claims
    await world.store.apply(me, [(again, retry(60_000))], world.now_ms())
    assert await world.store.promote([(stale, "a")]) == [Promoted.GONE]
    assert await world.state(claim.notification.id) == "due"


@pytest.mark.parametrize("place", ["queued", "due", "delayed", "held"])
@pytest.mark.parametrize("to", ["cancelled", "settled", "dead"])
async def test_what_nobody_has_claimed_can_be_withdrawn(world: World, place: str, to: str) -> None:
    """A notification that waits in any place is withdrawn. It ends once, and cannot be claimed or promoted any more."""
    me = await world.actor()
    if place == "delayed":
        sent = trigger(send_at_ms=world.now_ms() - 5)
        await world.store.accept([sent])
        nid = f"{sent.id}.0"
    elif place == "queued":
        (nid,) = await world.queued()
    else:
        (claim,) = await world.claimed(me)
        decision = retry(-5) if place == "due" else hold(-5)
        await world.store.apply(me, [(claim, decision)], world.now_ms())
        nid = claim.notification.id
    _, entries = await world.store.due()
    assert await world.store.withdraw(nid, to, "because") == WITHDRAWN
    assert await world.state(nid) == to
    assert await world.store.withdraw(nid, to, "because") == Withdrawal(WithdrawResult.ENDED, to)
    assert await world.store.promote([(entry, "a") for entry in entries]) == [Promoted.GONE] * len(entries)
    assert (await world.store.claim(me, lanes("a"), 5)).claims == []
    counts = await world.control.counts()
    assert (counts["due"], counts["delayed"], counts["held"]) == (0, 0, 0)
    letters = await world.letters(DeadLetterFilter(reason="because"))
    assert [letter.id for letter in letters] == ([nid] if to == "dead" else [])


async def test_a_claimed_one_cannot_be_withdrawn(world: World) -> None:
    """A withdrawal is answered CLAIMED for a claimed notification, and ENDED for a settled or unknown one."""
    me = await world.actor()
    (claim,) = await world.claimed(me)
    nid = claim.notification.id
    assert await world.store.withdraw(nid, "cancelled", "cancelled") == CLAIMED
    assert await world.store.apply(me, [(claim, settle())], world.now_ms()) == [Applied.DONE]
    assert await world.store.withdraw(nid, "cancelled", "cancelled") == Withdrawal(WithdrawResult.ENDED, "settled")
    assert await world.store.withdraw("0-nobody.0", "cancelled", "cancelled") == Withdrawal(
        WithdrawResult.ENDED, "absent"
    )


async def test_a_moved_one_is_withdrawn_from_where_it_is(world: World) -> None:
    """A notification that has moved to the mailbox of another vendor is withdrawn from that mailbox."""
    me = await world.actor()
    (claim,) = await world.claimed(me)
    await world.store.apply(me, [(claim, move("b"))], world.now_ms())
    assert await world.store.withdraw(claim.notification.id, "cancelled", "cancelled") == WITHDRAWN
    assert (await world.store.claim(await world.actor("b"), lanes("b"), 5)).claims == []


async def withdrawn_amid_moves(world: World, moves: int) -> tuple[Withdrawal, str]:
    """Withdraw a notification that moves before each of the first `moves` script calls.

    Return the answer of the withdrawal and the state after it.
    """
    store, me = world.store, await world.actor()
    (nid,) = await world.queued(1)
    run_one, asked = store_module.run_one, 0

    async def moving(connection: Any, name: str, *rest: Any) -> Any:
        nonlocal asked
        asked += name == "withdraw"
        if name == "withdraw" and asked <= moves:
            (claim,) = (await store.claim(me, lanes("a", "b"), 1)).claims
            to = "b" if claim.lane.mailbox == "a" else "a"
            assert await store.apply(me, [(claim, move(to))], world.now_ms()) == [Applied.DONE]
        return await run_one(connection, name, *rest)

    with mock.patch.object(store_module, "run_one", moving):
        word = await store.withdraw(nid, "settled", "late: v-1")
    return word, await world.state(nid)


@pytest.mark.parametrize("moves", [1, 2, MOVES_FOLLOWED - 1])
async def test_one_that_moves_meanwhile_is_followed(redis_world: World, moves: int) -> None:
    """A notification is moved a few times during its withdrawal. It is still withdrawn, from its new mailbox."""
    assert await withdrawn_amid_moves(redis_world, moves) == (WITHDRAWN, "settled")


async def test_one_that_never_stays_is_as_good_as_claimed(redis_world: World) -> None:
    """A notification is moved again and again while it is withdrawn. The withdrawal gives up with the answer CLAIMED.

    This is the answer that it gives if an actor has claimed the notification.
    """
    assert await withdrawn_amid_moves(redis_world, 100) == (CLAIMED, "queued")


async def test_a_redrive_happens_once_and_begins_anew(world: World) -> None:
    """A dead letter that is redriven twice becomes one entry, of the next generation, with no attempts and no tried
    vendors.
    """
    me = await world.actor()
    (claim,) = await world.claimed(me)
    await world.store.apply(me, [(claim, dead())], world.now_ms())
    letters = await world.letters(DeadLetterFilter())
    assert await world.views.routing_of([letters[0].id]) == [(("a", "b"), "normal", 86_400_000)]
    expires_ms = world.now_ms() + 60_000
    chosen = [Redriven(letters[0], "b", "normal", expires_ms)]
    assert [await world.views.redrive(chosen), await world.views.redrive(chosen)] == [1, 0]
    (again,) = (await world.store.claim(me, lanes("b"), 5)).claims
    n = again.notification
    assert (n.generation, n.attempts, n.tried, n.crashes, n.expires_ms) == (1, 0, (), 0, expires_ms)
    view = (await world.views.trigger(n.id[:-2])).notifications[0]
    assert (view.generation, len(view.attempts), view.reason) == (1, 1, None)
    assert (await world.control.counts())["dead"] == 0


async def test_a_discarded_letter_is_gone(world: World) -> None:
    """A discarded letter cannot be discarded or redriven again."""
    me = await world.actor()
    (claim,) = await world.claimed(me)
    await world.store.apply(me, [(claim, dead())], world.now_ms())
    letters = await world.letters(DeadLetterFilter())
    assert [await world.views.discard(letters), await world.views.discard(letters)] == [1, 0]
    assert await world.views.redrive([Redriven(letters[0], "a", "normal", 1)]) == 0
    assert await world.state(claim.notification.id) == "cancelled"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (DeadLetterFilter(), 3),
        (DeadLetterFilter(limit=2), 2),
        (DeadLetterFilter(tenant="shop"), 2),
        (DeadLetterFilter(tenant="nobody"), 0),
        (DeadLetterFilter(channel="sms"), 3),
        (DeadLetterFilter(channel="email"), 0),
        (DeadLetterFilter(reason="late"), 1),
        (DeadLetterFilter(until_ms=1500), 1),
        (DeadLetterFilter(since_ms=1500), 2),
        (DeadLetterFilter(ids=("nobody.0",)), 0),
    ],
)
async def test_dead_letters_are_filtered(world: World, wanted: DeadLetterFilter, found: int) -> None:
    """Each field of a filter limits the dead letters that are returned, and an empty field does not. Times are
    inclusive.
    """
    me = await world.actor()
    one, two = await world.claimed(me, 2)
    (other,) = await world.claimed(me, 1, tenant="other")
    await world.store.apply(me, [(one, dead())], 1000)
    await world.store.apply(me, [(two, dead("late"))], 2000)
    await world.store.apply(me, [(other, dead())], 3000)
    assert len(await world.letters(wanted)) == found


async def test_expired_ones_are_found_without_claiming(world: World) -> None:
    """`expired` returns the expired notifications of a mailbox in pages. The others can still be claimed."""
    now_ms = world.now_ms()
    over = await world.queued(3, expires_ms=now_ms - 1)
    fresh = await world.queued(2)
    lane, found, cursor, pages = Lane("a", "normal"), [], "", 0
    while True:
        cursor, page = await world.store.expired(lane, cursor, 2)
        found += page
        pages += 1
        if not cursor:
            break
    assert (found, pages) == (over, 3)
    for nid in found:
        assert await world.store.withdraw(nid, "dead", "expired") == WITHDRAWN
    me = await world.actor()
    assert [c.notification.id for c in (await world.store.claim(me, lanes("a"), 9)).claims] == fresh
    assert await world.store.expired(lane, "") == ("", [])


async def test_a_claimed_one_is_not_swept(world: World) -> None:
    """An expired notification that is claimed is not ended by the sweep, because its courier decides about it."""
    me = await world.actor()
    (claim,) = await world.claimed(me, expires_ms=world.now_ms() - 1)
    _, found = await world.store.expired(Lane("a", "normal"), "")
    assert [await world.store.withdraw(nid, "dead", "expired") for nid in found] == [CLAIMED]
    assert await world.state(claim.notification.id) == "queued"


async def test_what_is_postponed_is_looked_at_later(world: World) -> None:
    """Notifications in `due` are postponed. They leave `due` and come back at the new time.

    A second postponement that names their old entries does nothing.
    """
    me = await world.actor()
    (claim,) = await world.claimed(me)
    await world.store.apply(me, [(claim, retry(0))], world.now_ms())
    assert await world.store.accept([trigger(send_at_ms=world.now_ms() - 5)]) == [STORED]
    await asyncio.sleep(0.01)
    _, entries = await world.store.due()
    assert sorted(entry.delayed for entry in entries) == [False, True]
    await world.store.postpone(entries, 300)
    await world.store.postpone(entries, 3_600_000)
    assert (await world.store.due())[1] == []
    await asyncio.sleep(0.35)
    assert {entry.id for entry in (await world.store.due())[1]} == {entry.id for entry in entries}


async def test_a_retry_is_postponed_by_the_clock_that_dates_it(
    redis_world: World, redis_client: redis.asyncio.Redis
) -> None:
    """The store's clock was set back by an hour. A postponed retry is not due at once."""
    me = await redis_world.actor()
    (claim,) = await redis_world.claimed(me)
    await redis_client.hset("{nd:0}:clock", mapping={"ahead": 3_600_000})
    await redis_world.store.apply(me, [(claim, retry(0))], redis_world.now_ms())
    await redis_client.zadd("{nd:0}:due", {claim.notification.id: 1})
    _, (entry,) = await redis_world.store.due()
    await redis_world.store.postpone([entry], 10_000)
    assert (await redis_world.store.due())[1] == []


async def test_a_redrive_gives_time_to_nobody_else(world: World) -> None:
    """A redrive gives its letter a new expiry time, which later retries keep. The trigger's other notification keeps
    its own time.
    """
    me = await world.actor()
    expires_ms = world.now_ms() + 60_000
    two = trigger(expires_ms=expires_ms)
    two = replace(two, notifications=two.notifications * 2)
    assert await world.store.accept([two]) == [STORED]
    first, second = (await world.store.claim(me, lanes("a"), 2)).claims
    await world.store.apply(me, [(first, dead()), (second, retry(0))], world.now_ms())
    (letter,) = await world.letters()
    lived_ms = (await world.views.routing_of([letter.id]))[0][2]
    later_ms = expires_ms + 3_600_000
    assert await world.views.redrive([Redriven(letter, "a", "normal", later_ms)]) == 1
    await asyncio.sleep(0.01)
    _, (entry,) = await world.store.due()
    assert (entry.id, entry.expires_ms) == (second.notification.id, expires_ms)
    (claim,) = (await world.store.claim(me, lanes("a"), 2)).claims
    assert (claim.notification.id, claim.notification.expires_ms) == (letter.id, later_ms)
    await world.store.apply(me, [(claim, retry(0))], world.now_ms())
    await asyncio.sleep(0.01)
    assert {e.id: e.expires_ms for e in (await world.store.due())[1]}[letter.id] == later_ms
    assert (await world.views.routing_of([letter.id]))[0][2] == lived_ms


async def test_a_letter_that_was_redriven_expires_by_its_own_time(world: World) -> None:
    """An expired dead letter is redriven with a new expiry time, so `expired` does not return it."""
    me = await world.actor()
    (claim,) = await world.claimed(me, expires_ms=world.now_ms() - 1)
    await world.store.apply(me, [(claim, dead())], world.now_ms())
    (letter,) = await world.letters()
    assert await world.views.redrive([Redriven(letter, "a", "normal", world.now_ms() + 60_000)]) == 1
    assert (await world.store.expired(Lane("a", "normal"), ""))[1] == []
