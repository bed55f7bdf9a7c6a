"""Tests how a claim ends: a decision is applied once, and only for the incarnation that holds the entry."""

from __future__ import annotations

import dataclasses

import pytest

from dispatcher.core.life.dead_letter import DeadLetterFilter
from dispatcher.core.life.decide import Decision, Move, Settle
from dispatcher.core.life.notification import Lane, NewNotification, Trail
from dispatcher.core.life.sms_text import SmsSize
from dispatcher.ports import STORED, Applied, Promoted
from tests.contract.worlds import ENDINGS, World, attempt, dead, hold, lanes, move, retry, settle, trigger


@pytest.mark.parametrize("decision", ENDINGS.values(), ids=ENDINGS.keys())
async def test_a_decision_is_carried_out_once(world: World, decision: Decision) -> None:
    """A decision is applied once. The same decision again, as after a lost reply, is answered LOST and changes
    nothing.
    """
    me = await world.actor()
    (claim,) = await world.claimed(me)
    assert await world.store.apply(me, [(claim, decision)], world.now_ms()) == [Applied.DONE]
    before = (await world.control.depths(), await world.control.counts(), await world.state(claim.notification.id))
    assert await world.store.apply(me, [(claim, decision)], world.now_ms()) == [Applied.LOST]
    after = (await world.control.depths(), await world.control.counts(), await world.state(claim.notification.id))
    assert {name: depth.total for name, depth in after[0].items()} == {n: d.total for n, d in before[0].items()}
    assert after[1:] == before[1:]
    assert (await world.store.own(me, lanes("a"), set())).claims == []


@pytest.mark.parametrize("decision", ENDINGS.values(), ids=ENDINGS.keys())
async def test_a_stale_owner_decides_nothing(world: World, decision: Decision) -> None:
    """Another actor has taken over the entry. The old owner's decision is answered LOST, and the new owner can
    settle.
    """
    old, new = await world.actor(), await world.actor()
    (claim,) = await world.claimed(old)
    await world.bury(old)
    (taken,) = (await world.store.take(new, lanes("a"))).claims
    assert await world.store.apply(old, [(claim, decision)], world.now_ms()) == [Applied.LOST]
    assert await world.state(claim.notification.id) == "queued"
    assert await world.store.apply(new, [(taken, settle())], world.now_ms()) == [Applied.DONE]
    assert await world.state(claim.notification.id) == "settled"


async def test_words_of_one_round_trip_do_not_depend_on_each_other(world: World) -> None:
    """A batch has four decisions, two of them about entries that are no longer ours. The replies come in order: LOST
    for these two, DONE for the others.
    """
    me, other = await world.actor(), await world.actor()
    one, two, three = await world.claimed(me, 3)
    await world.store.apply(me, [(two, settle())], world.now_ms())
    (foreign,) = await world.claimed(other)
    decided = [(one, settle()), (two, settle()), (foreign, settle()), (three, dead())]
    assert await world.store.apply(me, decided, world.now_ms()) == [
        Applied.DONE,
        Applied.LOST,
        Applied.LOST,
        Applied.DONE,
    ]


async def test_settled_is_remembered_with_its_history(world: World) -> None:
    """The view of a settled notification shows its attempts, and its mailbox is empty."""
    me = await world.actor()
    (claim,) = await world.claimed(me)
    await world.store.apply(me, [(claim, settle())], world.now_ms())
    view = (await world.views.trigger(claim.notification.id[:-2])).notifications[0]
    assert (view.state, view.vendor, view.attempts) == ("settled", "a", (attempt(),))
    assert (await world.control.depths())["a"].total == 0


async def test_what_an_sms_costs_is_remembered(world: World) -> None:
    """The view of an SMS shows the encoding and the number of segments that were computed at accept. A mail has no
    size.
    """
    sms = NewNotification("sms", "+4915112345678", ("a",), "a", "receipt", 3, sms=SmsSize("ucs2", 2))
    posted = trigger(notifications=(sms, NewNotification("email", "ada@example.com", ("a",), "a", "mail", 1)))
    assert await world.store.accept([posted]) == [STORED]
    assert [n.sms for n in (await world.views.trigger(posted.id)).notifications] == [SmsSize("ucs2", 2), None]


async def test_a_move_reaches_the_other_mailbox(world: World) -> None:
    """A notification is moved. It can be claimed only from the other mailbox, and there in the same lane.

    The claim names the vendors that have been tried.
    """
    me, other = await world.actor(), await world.actor("b")
    (claim,) = await world.claimed(me, priority="high")
    assert await world.store.apply(me, [(claim, move("b", ("a",), epoch=7))], world.now_ms()) == [Applied.DONE]
    assert (await world.store.claim(me, lanes("a"), 5)).claims == []
    (moved,) = (await world.store.claim(other, lanes("b"), 5)).claims
    n = moved.notification
    assert (moved.lane, n.id, n.tried) == (Lane("b", "high"), claim.notification.id, ("a",))
    assert (n.attempts, n.moved_epoch) == (1, 7)
    assert await world.store.apply(other, [(moved, Settle(attempt("b"), 2))], world.now_ms()) == [Applied.DONE]
    view = (await world.views.trigger(n.id[:-2])).notifications[0]
    assert [a.vendor for a in view.attempts] == ["a", "b"]
    assert view.vendor == "b"


async def test_a_retry_waits_for_its_time(world: World) -> None:
    """A retry leaves the mailbox and becomes due at its time. After its promotion it is claimed with its attempts."""
    me = await world.actor()
    sooner, later = await world.claimed(me, 2)
    now_ms = world.now_ms()
    decided = [(sooner, retry(-5, ("a",))), (later, retry(60_000))]
    assert await world.store.apply(me, decided, now_ms) == [Applied.DONE, Applied.DONE]
    assert await world.state(sooner.notification.id) == "due"
    at_ms, (entry,) = await world.store.due()
    assert abs(at_ms - now_ms) < 1000
    assert (entry.id, entry.delayed, entry.chain, entry.tried) == (sooner.notification.id, False, ("a", "b"), ("a",))
    assert (entry.priority, entry.expires_ms) == ("normal", sooner.notification.expires_ms)
    assert await world.store.promote([(entry, "a")]) == [Promoted.DONE]
    (again,) = (await world.store.claim(me, lanes("a"), 5)).claims
    assert (again.notification.attempts, again.notification.tried) == (1, ("a",))


async def test_a_dead_letter_keeps_reason_and_history(world: World) -> None:
    """A dead letter is found by its vendor and reason, and shows every attempt."""
    me = await world.actor()
    (claim,) = await world.claimed(me)
    now_ms = world.now_ms()
    await world.store.apply(me, [(claim, dead("twilio_21211"))], now_ms)
    (letter,) = await world.letters(DeadLetterFilter(vendor="a", reason="twilio_21211"))
    assert (letter.id, letter.tenant, letter.channel, letter.dead_ms) == (claim.notification.id, "shop", "sms", now_ms)
    assert [a.outcome for a in letter.attempts] == ["rejected"]
    assert await world.letters(DeadLetterFilter(reason="other")) == []


async def test_a_held_notification_is_in_no_mailbox(world: World) -> None:
    """A held notification cannot be claimed. It is reported as overdue only after its deadline."""
    me = await world.actor()
    over, waiting = await world.claimed(me, 2, on_unknown="hold")
    now_ms = world.now_ms()
    await world.store.apply(me, [(over, hold(-2000)), (waiting, hold(60_000))], now_ms)
    assert (await world.store.claim(me, lanes("a"), 5)).claims == []
    assert await world.store.overdue_held() == [over.notification.id]
    assert (await world.control.counts())["held"] == 2


async def test_the_start_mark_needs_a_live_owner(world: World) -> None:
    """A notification must be marked as started before it is sent under `hold`. Only the live incarnation that claimed
    it can do that.

    If the incarnation marks it twice, the answer is the same.
    """
    me, other = await world.actor(), await world.actor()
    (claim,) = await world.claimed(me, on_unknown="hold")
    assert not await world.store.start(other, claim)
    assert await world.state(claim.notification.id) == "queued"
    assert await world.store.start(me, claim)
    assert await world.store.start(me, claim)
    assert await world.state(claim.notification.id) == "started"
    await world.bury(me)
    assert not await world.store.start(me, claim)


async def test_a_move_clears_the_start_mark(world: World) -> None:
    """A notification under `hold` has a start mark, which says that its send may have begun. Then it is moved to
    another vendor.

    It is queued there without the mark, and the other vendor's actor can claim it.
    """
    me, other = await world.actor(), await world.actor("b")
    (claim,) = await world.claimed(me, on_unknown="hold")
    await world.store.start(me, claim)
    await world.store.apply(me, [(claim, move())], world.now_ms())
    assert await world.state(claim.notification.id) == "queued"
    assert len((await world.store.claim(other, lanes("b"), 1)).claims) == 1


async def test_siblings_of_a_trigger_end_on_their_own(world: World) -> None:
    """Three notifications of one trigger end in different ways, and each has its own state."""
    me = await world.actor()
    sent = trigger(channels=3)
    await world.store.accept([sent])
    first, second, third = (await world.store.claim(me, lanes("a"), 5)).claims
    now_ms = world.now_ms()
    await world.store.apply(me, [(first, settle()), (second, dead()), (third, retry(-1))], now_ms)
    view = await world.views.trigger(sent.id)
    assert [n.state for n in view.notifications] == ["settled", "dead", "due"]


async def test_a_long_history_keeps_its_newest_lines_and_the_number_of_the_others(world: World) -> None:
    """A notification has 1,000 throttled attempts. Its history keeps only the newest attempts, and its first line says
    how many attempts were left out.
    """
    me = await world.actor()
    (claim,) = await world.claimed(me)
    nid, times = claim.notification.id, 1000
    for n in range(times):
        line = dataclasses.replace(attempt(), at_ms=n, outcome="throttled", reason="http_429")
        assert await world.store.apply(me, [(claim, Move("a", Trail(), line, 0))], world.now_ms()) == [Applied.DONE]
        (claim,) = (await world.store.claim(me, lanes("a"), 1)).claims
    view = (await world.views.trigger(nid[:-2])).notifications[0]
    first, *kept = view.attempts
    assert (first.outcome, first.vendor) == ("left_out", "")
    assert int(first.reason) + len(kept) == times
    assert [line.at_ms for line in kept] == list(range(times - len(kept), times))
    assert 25 <= len(kept) <= 80
    assert claim.notification.attempts == 0
    assert await world.store.apply(me, [(claim, settle())], world.now_ms()) == [Applied.DONE]
    assert (await world.views.trigger(nid[:-2])).notifications[0].attempts[-1] == attempt()
