"""Tests that the store reopens a notification that its vendor accepted and then refused by a receipt."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import redis.asyncio

from dispatcher.adapters.redis.keys import Keys
from dispatcher.core.life.late_refusal import LastCall, Reopen
from dispatcher.core.life.notification import CallMark, LaterWord, NewTrigger, State, Trail, trigger_of
from dispatcher.ports import STORED, Begun, Promoted, Redriven, Withdrawal, WithdrawResult
from tests.contract.test_fallbacks import LATE, NEVER, entry_of, pair, states
from tests.contract.worlds import World, hold, lanes, settle

AGAIN = Reopen(1, Trail(("a",), ("a",), ("a",)))


async def settled(world: World, reopens_ms: int = 60_000) -> str:
    """Settle one notification, whose content is kept for `reopens_ms` milliseconds. Return its id."""
    me = await world.actor()
    (claim,) = await world.claimed(me)
    await world.store.apply(me, [(claim, replace(settle(), reopens_ms=reopens_ms))], world.now_ms())
    nid: str = claim.notification.id
    return nid


async def last_call(world: World, nid: str) -> LastCall:
    found = await world.store.last_call(nid)
    assert isinstance(found, LastCall)
    return found


async def test_a_settled_one_is_sent_again_whole(world: World) -> None:
    """A settled notification is reopened. The next actor claims it with its content, its trail and its attempts."""
    nid = await settled(world)
    last = await last_call(world, nid)
    assert (last.vendor, last.message_id, last.fallback) == ("a", "v-1", None)
    assert last.notification.data == {"order": "1234", "name": "Ädä"}
    assert await world.store.reopen(last, AGAIN)
    assert await world.state(nid) == "due"
    await asyncio.sleep(0.005)
    (entry,) = (await world.store.due()).entries
    assert (entry.id, entry.tried) == (nid, ("a",))
    assert await world.store.promote([(entry, "b")]) == [Promoted.DONE]
    other = await world.actor("b")
    (claim,) = (await world.store.claim(other, lanes("b"), 1)).claims
    n = claim.notification
    assert (n.attempts, n.trail, n.data, n.to) == (1, AGAIN.trail, last.notification.data, last.notification.to)
    await world.store.apply(other, [(claim, settle(2))], world.now_ms())
    assert await world.state(nid) == "settled"
    view = await world.views.trigger(trigger_of(nid))
    assert [attempt.outcome for attempt in view.notifications[0].attempts] == ["accepted", "accepted"]


async def test_one_refusal_reopens_it_once(world: World) -> None:
    """A refusal by receipt reopens a notification once, even if three such receipts come at the same time.

    After another vendor has accepted the reopened notification, the same refusal does not reopen it again.
    """
    nid = await settled(world)
    last = await last_call(world, nid)
    assert sorted(await asyncio.gather(*(world.store.reopen(last, AGAIN) for _ in range(3)))) == [False, False, True]
    await asyncio.sleep(0.005)
    await world.store.promote([(entry, "b") for entry in (await world.store.due()).entries])
    other = await world.actor("b")
    (claim,) = (await world.store.claim(other, lanes("b"), 1)).claims
    assert await world.store.last_call(nid) is None
    await world.store.apply(other, [(claim, replace(settle(2), reopens_ms=60_000))], world.now_ms())
    assert not await world.store.reopen(last, AGAIN)


async def test_without_its_content_it_stays(world: World) -> None:
    """If the content of a settled notification is not kept, or not any more, the notification is not reopened."""
    assert await world.store.last_call(await settled(world, 0)) is None
    nid = await settled(world, 40)
    last = await last_call(world, nid)
    await asyncio.sleep(0.06)
    assert await world.store.last_call(nid) is None
    assert not await world.store.reopen(last, AGAIN)
    assert await world.state(nid) == "settled"


async def reopened_with_a_fallback(world: World, when: str = NEVER) -> NewTrigger:
    """Return a trigger whose first notification was settled and reopened, after its fallback was skipped."""
    posted = pair(when)
    assert await world.store.accept([posted]) == [STORED]
    me = await world.actor()
    (claim,) = (await world.store.claim(me, lanes("a"), 1)).claims
    await world.store.apply(me, [(claim, replace(settle(), reopens_ms=60_000))], world.now_ms())
    assert await world.store.begin([await entry_of(world, posted)]) == [Begun.SKIPPED]
    assert await world.store.reopen(await last_call(world, f"{posted.id}.0"), AGAIN)
    assert await states(world, posted) == ["due", "standby"]
    return posted


async def test_a_fallback_that_was_not_needed_stands_by_again(world: World) -> None:
    """A first notification is reopened, so that its skipped fallback waits again. Then the first notification dies.

    The fallback begins, has all its content, and can be settled.
    """
    posted = await reopened_with_a_fallback(world)
    await world.store.withdraw(f"{posted.id}.0", "dead", "expired")
    assert await world.store.begin([await entry_of(world, posted)]) == [Begun.BEGUN]
    assert await states(world, posted) == ["dead", "delayed"]
    (entry,) = [one for one in (await world.store.due()).entries if one.id == f"{posted.id}.1"]
    assert await world.store.promote([(entry, "mail")]) == [Promoted.DONE]
    other = await world.actor("mail")
    (claim,) = (await world.store.claim(other, lanes("mail"), 1)).claims
    assert (claim.notification.channel, claim.notification.data) == ("email", posted.data)
    await world.store.apply(other, [(claim, settle())], world.now_ms())
    assert await states(world, posted) == ["dead", "settled"]


async def test_a_fallback_that_stands_by_again_is_skipped_again(world: World) -> None:
    """A notification was reopened, so its fallback stands by again. Then the next vendor accepts the notification.

    The fallback is skipped a second time, and the content is removed.
    """
    posted = await reopened_with_a_fallback(world)
    await asyncio.sleep(0.005)
    due = [one for one in (await world.store.due()).entries if one.id == f"{posted.id}.0"]
    assert await world.store.promote([(due[0], "b")]) == [Promoted.DONE]
    other = await world.actor("b")
    (claim,) = (await world.store.claim(other, lanes("b"), 1)).claims
    await world.store.apply(other, [(claim, settle(2))], world.now_ms())
    assert await world.store.begin([await entry_of(world, posted)]) == [Begun.SKIPPED]
    assert await states(world, posted) == ["settled", "skipped"]
    last = await world.store.last_call(f"{posted.id}.0")
    assert last is None or last.fallback is State.SKIPPED


async def test_the_time_of_a_fallback_holds_after_a_refusal_too(world: World) -> None:
    """A notification is reopened after the `after_s` of its fallback has passed. The fallback begins now, and the
    reopened notification is withdrawn, so never both are sent.
    """
    posted = await reopened_with_a_fallback(world, LATE)
    assert await world.store.begin([await entry_of(world, posted)]) == [Begun.BEGUN]
    assert await states(world, posted) == ["cancelled", "delayed"]


async def test_a_held_one_goes_on(world: World) -> None:
    """A held notification is reopened: it becomes due and is held no more. Its start mark names the vendor that was
    called.
    """
    me = await world.actor()
    (claim,) = await world.claimed(me, on_unknown="hold")
    assert await world.store.start(me, claim)
    await world.store.apply(me, [(claim, hold(60_000))], world.now_ms())
    nid = claim.notification.id
    last = await last_call(world, nid)
    assert (last.vendor, last.message_id, last.notification.state) == ("a", "", State.HELD)
    assert await world.store.reopen(last, AGAIN)
    assert await world.state(nid) == "due"
    assert await world.store.held_ids(0, 10) == []


@pytest.mark.parametrize("place", ["queued", "dead", "cancelled"])
async def test_no_other_state_has_a_last_call(world: World, place: str) -> None:
    (nid,) = await world.queued()
    if place in ("dead", "cancelled"):
        await world.store.withdraw(nid, place, "r")
    assert await world.store.last_call(nid) is None
    assert await world.store.last_call("0-nobody.0") is None


async def test_the_record_does_not_expire_meanwhile(redis_world: World, redis_client: redis.asyncio.Redis) -> None:
    """The record of a settled notification and its kept content have expiry times. A reopening removes the record's
    expiry time.
    """
    nid = await settled(redis_world)
    record, kept = Keys().record(trigger_of(nid)), Keys().kept(trigger_of(nid))
    assert await redis_client.pttl(record) > 0
    assert 0 < await redis_client.pttl(kept) <= 60_000
    assert not await redis_client.hexists(record, "d")
    assert await redis_world.store.reopen(await last_call(redis_world, nid), AGAIN)
    assert await redis_client.pttl(record) == -1
    assert await redis_client.hget(record, "open") == "1"


async def held(world: World) -> str:
    """Return the id of a notification that is held after a call at `a`."""
    me = await world.actor()
    (claim,) = await world.claimed(me, on_unknown="hold")
    assert await world.store.start(me, claim)
    await world.store.apply(me, [(claim, hold(60_000))], world.now_ms())
    nid: str = claim.notification.id
    return nid


@pytest.mark.parametrize("reason", ["receipt", "late: v-9", "look_up: v-9"])
async def test_what_a_later_word_settles_can_still_be_refused(world: World, reason: str) -> None:
    """A held notification is settled by a receipt, a late answer or a look-up. The history says who accepted it, and
    its content is kept, so that a receipt may still refuse the message (SendGrid says `processed` before `bounce`).
    """
    nid = await held(world)
    word = LaterWord("a", "v-9", CallMark())
    assert await world.store.withdraw(nid, "settled", reason, word=word) == Withdrawal(WithdrawResult.DONE)
    view = (await world.views.trigger(trigger_of(nid))).notifications[0]
    told = [(attempt.vendor, attempt.outcome, attempt.reason, attempt.vendor_message_id) for attempt in view.attempts]
    assert told[-1] == ("a", "accepted", reason.partition(":")[0], "v-9")
    assert (told[0][1], len(told), view.vendor) == ("unknown", 2, "a")
    last = await last_call(world, nid)
    assert (last.vendor, last.message_id, last.notification.data) == ("a", "v-9", {"order": "1234", "name": "Ädä"})
    assert await world.store.reopen(last, AGAIN)
    assert await world.state(nid) == "due"


async def test_a_word_about_a_call_before_the_reopening_changes_nothing(world: World) -> None:
    """A notification was refused by a receipt and reopened. A provider repeats what it said about the refused call. It
    does not settle the notification, which nobody would send then.

    A word about a later call does, and so does one that counts for every call.
    """
    for word in (LaterWord("a", "v-2", CallMark(0, 1)), LaterWord("a", "v-1")):
        nid = await settled(world)
        assert await world.store.reopen(await last_call(world, nid), AGAIN)
        stale = await world.store.withdraw(nid, "settled", "receipt", word=LaterWord("a", "v-1", CallMark()))
        assert stale == Withdrawal(WithdrawResult.ENDED, "due")
        assert await world.state(nid) == "due"
        assert await world.store.withdraw(nid, "settled", "receipt", word=word) == Withdrawal(WithdrawResult.DONE)


async def test_a_redrive_ends_what_was_known_too(world: World) -> None:
    """A held notification is given up and redriven. A word about the call before the redrive does not end it."""
    nid = await held(world)
    await world.store.withdraw(nid, "dead", "unknown", only=State.HELD)
    (letter,) = await world.letters()
    assert await world.views.redrive([Redriven(letter, "a", "normal", world.now_ms() + 60_000)]) == 1
    stale = await world.store.withdraw(nid, "settled", "receipt", word=LaterWord("a", "v-1", CallMark()))
    assert stale.result is WithdrawResult.ENDED and await world.state(nid) != "settled"


async def test_a_withdrawal_may_ask_for_a_state(world: World) -> None:
    """The end of a held notification is decided by what was read. It changes nothing if the notification was reopened
    meanwhile.
    """
    nid = await held(world)
    assert await world.store.reopen(await last_call(world, nid), AGAIN)
    stale = await world.store.withdraw(nid, "dead", "undelivered", only=State.HELD)
    assert stale == Withdrawal(WithdrawResult.ENDED, "due")
    assert await world.state(nid) == "due"


async def test_it_is_known_who_sends_a_notification(world: World) -> None:
    """An actor of `b` drains the mailbox of `a`. It is the vendor that sends, and not the one whose mailbox it is."""
    (nid,) = await world.queued()
    assert await world.store.sending(nid) is None
    assert await world.store.sending("0-nobody.0") is None
    other = await world.actor("b")
    (claim,) = (await world.store.claim(other, lanes("a"), 1)).claims
    assert await world.store.sending(nid) == ("b", CallMark())
    await world.store.apply(other, [(claim, settle())], world.now_ms())
    assert await world.store.sending(nid) is None
