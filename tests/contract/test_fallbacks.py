"""Tests a fallback to another channel: the store decides once, by what became of the first notification.

In these tests "the first" is the SMS and "the fallback" is the mail.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
import redis.asyncio

from dispatcher.adapters.redis.keys import Keys
from dispatcher.core.accepting.caps import Cap
from dispatcher.core.life.choices import WaitFor
from dispatcher.core.life.fallback import Fate, First, decide_fallback
from dispatcher.core.life.notification import Claim, Follows, NewNotification, NewTrigger, State
from dispatcher.ports import STORED, Applied, Begun, DueEntry, Promoted, Withdrawal, WithdrawResult
from tests.contract.worlds import RETENTION_MS, World, dead, full, hold, lanes, retry, settle, trigger

NEVER, NOT_YET, LATE = "never", "not yet", "late"
TTL_MS = 30_000
SAYS = {Fate.BEGIN: Begun.BEGUN, Fate.SKIP: Begun.SKIPPED, Fate.WAIT: Begun.WAITS}


def pair(when: str = NEVER, wait_for: str = "accepted", **changes: Any) -> NewTrigger:
    """Return a trigger with an SMS in the mailbox `a`, and a mail that is its fallback.

    `when` says when the fallback's time comes: never, not yet, or a millisecond ago.
    """
    posted = trigger(**changes)
    now_ms = posted.accepted_ms
    begin_ms = {NEVER: None, NOT_YET: now_ms + 60_000, LATE: now_ms - 1}[when]
    mail = NewNotification(
        *("email", "ada@example.com", ("mail",), "mail", "letter", 1),
        send_at_ms=begin_ms or posted.expires_ms + 1000,
        expires_ms=posted.expires_ms + TTL_MS,
        follows=Follows(0, wait_for, begin_ms, TTL_MS),
    )
    return trigger(**{**changes, "id": posted.id, "notifications": (*posted.notifications, mail)})


async def entry_of(world: World, posted: NewTrigger) -> DueEntry:
    """Return the fallback as `due` would return it, even if it is not due."""
    view = (await world.views.trigger(posted.id)).notifications[1]
    assert view.state == "standby"
    return DueEntry(view.id, str(view.until_ms), True, ("mail",), (), "normal", posted.expires_ms, stands_by=True)


async def states(world: World, posted: NewTrigger) -> list[str]:
    return [n.state for n in (await world.views.trigger(posted.id)).notifications]


async def queued(world: World, posted: NewTrigger) -> None:
    """Leave the first notification as it is: queued, and claimed by no actor."""


async def claimed(world: World, posted: NewTrigger) -> tuple[str, Claim]:
    me = await world.actor()
    (claim,) = (await world.store.claim(me, lanes("a"), 5)).claims
    return me, claim


async def started(world: World, posted: NewTrigger) -> None:
    me, claim = await claimed(world, posted)
    assert await world.store.start(me, claim)


async def ended(world: World, posted: NewTrigger, decision: Any) -> None:
    me, claim = await claimed(world, posted)
    assert await world.store.apply(me, [(claim, decision)], world.now_ms()) == [Applied.DONE]


async def settled(world: World, posted: NewTrigger) -> None:
    await ended(world, posted, settle())


async def delivered(world: World, posted: NewTrigger) -> None:
    await settled(world, posted)
    assert await world.store.note_receipt(f"{posted.id}.0", "delivered")


async def undelivered(world: World, posted: NewTrigger) -> None:
    await settled(world, posted)
    assert await world.store.note_receipt(f"{posted.id}.0", "undelivered")


async def died(world: World, posted: NewTrigger) -> None:
    await ended(world, posted, dead())


async def waits_to_be_tried_again(world: World, posted: NewTrigger) -> None:
    await ended(world, posted, retry(60_000))


async def is_held(world: World, posted: NewTrigger) -> None:
    await ended(world, posted, hold(60_000))


async def cancelled(world: World, posted: NewTrigger) -> None:
    done = await world.store.withdraw(f"{posted.id}.0", "cancelled", "cancelled")
    assert done == Withdrawal(WithdrawResult.DONE)


async def expired(world: World, posted: NewTrigger) -> None:
    await world.store.withdraw(f"{posted.id}.0", "dead", "expired")


FATES = {
    queued: First(State.QUEUED),
    claimed: First(State.QUEUED, claimed=True),
    started: First(State.STARTED, claimed=True),
    settled: First(State.SETTLED),
    delivered: First(State.SETTLED, receipt="delivered"),
    undelivered: First(State.SETTLED, receipt="undelivered"),
    died: First(State.DEAD),
    expired: First(State.DEAD),
    waits_to_be_tried_again: First(State.DUE),
    is_held: First(State.HELD),
    cancelled: First(State.CANCELLED),
}
CASES = list(itertools.product(FATES, (NEVER, NOT_YET, LATE), ("accepted", "delivered")))


@pytest.mark.parametrize(("act", "when", "wait_for"), CASES, ids=[f"{a.__name__}, {w}, {f}" for a, w, f in CASES])
async def test_the_store_decides_as_the_rules_do(world: World, act: Any, when: str, wait_for: WaitFor) -> None:
    """The first notification is in each of its possible states. Both stores then decide about its fallback as
    `decide_fallback` does.

    A second call with the same entry changes nothing.
    """
    posted = pair(when, wait_for, on_unknown="hold" if act in (started, is_held) else "resend")
    assert await world.store.accept([posted]) == [STORED]
    await act(world, posted)
    before, entry = (await states(world, posted))[0], await entry_of(world, posted)
    fate = decide_fallback(FATES[act], wait_for, when == LATE)
    assert await world.store.begin([entry]) == [SAYS[fate]]
    first, second = await states(world, posted)
    assert second == {Fate.BEGIN: "delayed", Fate.SKIP: "skipped", Fate.WAIT: "standby"}[fate]
    overtaken = fate is Fate.BEGIN and before in ("queued", "due")
    assert first == ("cancelled" if overtaken else before)
    if fate is not Fate.WAIT:
        assert await world.store.begin([entry]) == [Begun.GONE]
        assert await states(world, posted) == [first, second]
    if overtaken:
        assert (await world.store.claim(await world.actor(), lanes("a"), 5)).claims == []
        assert await world.control.counts() == {"due": 0, "delayed": 1, "held": 0, "dead": 0}


async def test_what_has_begun_is_sent_like_any_other(world: World) -> None:
    """A fallback has begun. It is due at once, with its own time to live, and the actor of the fallback's vendor claims
    and settles it.
    """
    posted = pair()
    await world.store.accept([posted])
    await died(world, posted)
    (entry,) = (await world.store.due()).entries
    assert (entry.id, entry.stands_by) == (f"{posted.id}.1", True)
    assert await world.store.begin([entry]) == [Begun.BEGUN]
    (entry,) = (await world.store.due()).entries
    assert not entry.stands_by
    assert 0 < entry.expires_ms - world.now_ms() <= TTL_MS
    assert await world.store.promote([(entry, "mail")]) == [Promoted.DONE]
    me = await world.actor("mail")
    (claim,) = (await world.store.claim(me, lanes("mail"), 5)).claims
    assert (claim.notification.to, claim.notification.channel) == ("ada@example.com", "email")
    await world.store.apply(me, [(claim, settle())], world.now_ms())
    assert await states(world, posted) == ["dead", "settled"]


@pytest.mark.parametrize("act", [settled, died, cancelled, expired])
async def test_the_end_of_the_first_makes_it_due(world: World, act: Any) -> None:
    """When the first notification ends, its fallback becomes due at once, even if its own time has not come."""
    posted = pair(NOT_YET)
    await world.store.accept([posted])
    assert (await world.store.due()).entries == []
    await act(world, posted)
    assert [entry.id for entry in (await world.store.due()).entries] == [f"{posted.id}.1"]


async def test_its_time_makes_it_due(world: World) -> None:
    """A fallback becomes due when its time comes, even if its first notification still waits and was never claimed."""
    posted = pair(LATE)
    await world.store.accept([posted])
    assert [entry.stands_by for entry in (await world.store.due()).entries] == [True]


async def test_one_that_waits_is_looked_at_again_when_it_may_help(world: World) -> None:
    """A fallback that has to wait becomes due again at its time, or after a second if an actor has claimed the first.

    If the first is held, the fallback is due again after a minute.
    """
    for when, act, least_ms, most_ms in (
        (NOT_YET, queued, 59_000, 60_001),
        (LATE, claimed, 500, 1_001),
        (LATE, is_held, 59_000, 60_001),
        (NEVER, queued, 86_000_000, 86_402_000),
    ):
        posted = pair(when, on_unknown="hold" if act is is_held else "resend")
        await world.store.accept([posted])
        await act(world, posted)
        assert await world.store.begin([await entry_of(world, posted)]) == [Begun.WAITS]
        until_ms = (await world.views.trigger(posted.id)).notifications[1].until_ms
        assert least_ms < until_ms - world.now_ms() <= most_ms, (when, act)
        await world.store.withdraw(f"{posted.id}.0", "cancelled", "x")


async def test_a_cancel_ends_both(world: World) -> None:
    """A first notification and its fallback that has not begun are both withdrawn by a cancel."""
    posted = pair(LATE)
    await world.store.accept([posted])
    for index in (0, 1):
        done = await world.store.withdraw(f"{posted.id}.{index}", "cancelled", "cancelled")
        assert done == Withdrawal(WithdrawResult.DONE)
    assert await states(world, posted) == ["cancelled", "cancelled"]
    assert (await world.store.due()).entries == []


async def test_a_receipt_is_kept_only_if_somebody_waits_for_it(world: World) -> None:
    """A receipt is stored only if a fallback waits for it. "undelivered" is stored only if the first notification is
    settled.

    If the first notification is not settled, the receipt is about an earlier attempt.
    """
    alone, posted = trigger(), pair(NOT_YET, "delivered")
    await world.store.accept([alone, posted])
    assert not await world.store.note_receipt(f"{alone.id}.0", "delivered")
    assert not await world.store.note_receipt(f"{posted.id}.0", "undelivered")
    assert not await world.store.note_receipt("0-none.0", "delivered")
    assert await world.store.note_receipt(f"{posted.id}.0", "delivered")


async def test_a_first_that_a_cap_stopped_has_no_fallback(world: World) -> None:
    """If a cap suppresses the first notification, its fallback is skipped."""
    posted = pair()
    first = NewNotification("sms", "+4915112345678", ("a",), "a", caps=(Cap(posted.id, 1, 60_000),))
    once = trigger(notifications=(first,))
    posted = trigger(notifications=(first, posted.notifications[1]))
    await world.store.accept([once])
    (reply,) = await world.store.accept([posted])
    assert reply.suppressed == (0,)
    view = await world.views.trigger(posted.id)
    assert [(n.state, n.reason) for n in view.notifications] == [
        ("suppressed", "recipient_cap"),
        ("skipped", "suppressed"),
    ]
    assert (await world.control.counts())["delayed"] == 0


async def test_people_see_what_it_follows(world: World) -> None:
    """The view of a fallback shows the id of the first notification, and until when the fallback waits."""
    posted = pair(NOT_YET)
    await world.store.accept([posted])
    first, second = (await world.views.trigger(posted.id)).notifications
    assert (first.fallback_for, second.fallback_for) == (None, first.id)
    assert second.until_ms is not None
    assert abs(second.until_ms - posted.accepted_ms - 60_000) < 5_000  # counted by the store's clock, not by the test's


async def test_the_record_ends_with_the_last_of_both(redis_world: World, redis_client: redis.asyncio.Redis) -> None:
    """The record expires only after both the first notification and its fallback have ended."""
    for when, act, steps in ((NEVER, settled, 1), (LATE, queued, 2)):
        posted = pair(when)
        await redis_world.store.accept([posted])
        await act(redis_world, posted)
        key = Keys().record(posted.id)
        assert await redis_client.pttl(key) == -1
        await redis_world.store.begin([await entry_of(redis_world, posted)])
        if steps == 2:
            assert await redis_client.pttl(key) == -1
            await redis_world.store.withdraw(f"{posted.id}.1", "cancelled", "cancelled")
        assert 0 < await redis_client.pttl(key) <= RETENTION_MS
        assert await redis_client.hget(key, "d") is None


async def test_a_full_store_still_decides(redis_world: World, redis_client: redis.asyncio.Redis) -> None:
    """On a full Redis, a notification can still end and a fallback can still begin."""
    posted, waiting = pair(NEVER), pair(LATE)
    await redis_world.store.accept([posted])
    me, claim = await claimed(redis_world, posted)
    await redis_world.store.accept([waiting])
    async with full(redis_client):
        assert await redis_world.store.apply(me, [(claim, dead())], redis_world.now_ms()) == [Applied.DONE]
        entries = [await entry_of(redis_world, one) for one in (posted, waiting)]
        assert await redis_world.store.begin(entries) == [Begun.BEGUN] * 2


async def test_many_deciders_begin_it_once(world: World) -> None:
    """Ten callers ask the store at the same time whether a waiting fallback begins. It begins once.

    The other nine callers are answered GONE.
    """
    posted = pair(LATE)
    await world.store.accept([posted])
    entry = await entry_of(world, posted)
    answers = await asyncio.gather(*(world.store.begin([entry]) for _ in range(10)))
    assert sorted(answer[0].name for answer in answers) == ["BEGUN", *["GONE"] * 9]


async def test_a_first_that_waits_for_its_tenants_turn_can_be_overtaken(world: World) -> None:
    """The first notification waits in its tenant's queue, behind another tenant's backlog. When its fallback begins,
    the first notification is removed from this queue and cannot be claimed.
    """
    await world.store.accept([trigger(tenant="crowd") for _ in range(40)])
    posted = pair(LATE)
    await world.store.accept([posted])
    assert (await world.control.depths())["a"].total == 41
    assert await world.store.begin([await entry_of(world, posted)]) == [Begun.BEGUN]
    assert (await world.control.depths())["a"].total == 40
    claims = (await world.store.claim(await world.actor(), lanes("a"), 100)).claims
    assert posted.id not in {claim.notification.id[:-2] for claim in claims}
