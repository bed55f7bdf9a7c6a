"""Tests accepting and claiming: what is stored once, who gets it, and in which order."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.life.notification import Lane, NewNotification, State
from dispatcher.errors import FencedError
from dispatcher.ports import STORED
from tests.contract.worlds import CONFLICT, REPLAYED, World, lanes, settle, trigger


async def test_a_notification_comes_out_as_it_went_in(world: World) -> None:
    """A claimed notification has every field as it was accepted."""
    content = {"subject": "Grüße", "text": "a\nb", "html": "<b>ä</b>"}
    notifications = (
        NewNotification("sms", "+4915112345678", ("a", "b"), "a", "receipt", 3),
        NewNotification("email", "ada@example.com", ("a",), "a", None, None, content=content),
    )
    sent = trigger(notifications=notifications, priority="high", on_unknown="hold", locale="de-DE", recipient_id="c1")
    await world.store.accept([sent])
    me = await world.actor()
    got = await world.store.claim(me, lanes("a"), 10)
    sms, email = (claim.notification for claim in got.claims)
    assert (sms.id, email.id) == (f"{sent.id}.0", f"{sent.id}.1")
    assert (sms.to, sms.template, sms.template_version, sms.content) == ("+4915112345678", "receipt", 3, None)
    assert (email.channel, email.chain, dict(email.content or {})) == ("email", ("a",), content)
    for n in (sms, email):
        assert (n.tenant, n.event, n.priority, n.on_unknown) == ("shop", "checkout.completed", "high", "hold")
        assert (dict(n.data), n.locale, n.expires_ms) == (dict(sent.data), "de-DE", sent.expires_ms)
        assert (n.attempts, n.generation, n.crashes, n.tried, n.state) == (0, 0, 0, (), State.QUEUED)
    assert abs(got.now_ms - world.now_ms()) < 1000


async def test_the_same_trigger_is_stored_once(world: World) -> None:
    """A second trigger with the id of a stored trigger is answered REPLAYED if its body is the same, and CONFLICT if
    not. Only one trigger is stored.
    """
    first = trigger()
    other_body = trigger(id=first.id, body_hash="h2")
    assert await world.store.accept([first, first, other_body]) == [STORED, REPLAYED, CONFLICT]
    assert await world.store.accept([first]) == [REPLAYED]
    got = await world.store.claim(await world.actor(), lanes("a"), 10)
    assert len(got.claims) == 1


async def test_a_replay_is_answered_after_the_end(world: World) -> None:
    """A trigger that is posted again after it was settled is answered REPLAYED, and nothing is queued."""
    first = trigger()
    await world.store.accept([first])
    me = await world.actor()
    (claim,) = (await world.store.claim(me, lanes("a"), 1)).claims
    await world.store.apply(me, [(claim, settle())], world.now_ms())
    assert await world.store.accept([first]) == [REPLAYED]
    assert (await world.store.claim(me, lanes("a"), 1)).claims == []


async def test_lanes_are_served_in_order_and_the_count_is_over_all_of_them(world: World) -> None:
    """A claim takes the most urgent lane first, and the oldest entry first within a lane, up to the wanted number in
    all.
    """
    bulk = await world.queued(2, priority="bulk")
    normal = await world.queued(2)
    high = await world.queued(2, priority="high")
    me = await world.actor()
    first = await world.store.claim(me, lanes("a"), 3)
    assert [c.notification.id for c in first.claims] == [*high, normal[0]]
    assert first.claims[0].lane == Lane("a", "high")
    rest = await world.store.claim(me, lanes("a"), 10)
    assert [c.notification.id for c in rest.claims] == [normal[1], *bulk]


async def test_an_entry_is_claimed_once(world: World) -> None:
    """Two actors of one mailbox never get the same entry."""
    await world.queued(4)
    one, two = await world.actor(), await world.actor()
    first = await world.store.claim(one, lanes("a"), 2)
    second = await world.store.claim(two, lanes("a"), 10)
    ids = [c.notification.id for c in (*first.claims, *second.claims)]
    assert len(ids) == len(set(ids)) == 4


async def test_a_lane_without_a_group_strands_nothing(world: World) -> None:
    """A claim names two mailboxes, one of which was never used. It gets the entry of the used mailbox.

    When the other mailbox gets its first entry, the same claim gets that entry.
    """
    (known,) = await world.queued(1)
    me = await world.actor()
    both = [Lane("a", "normal"), Lane("new", "normal")]
    assert [c.notification.id for c in (await world.store.claim(me, both, 5)).claims] == [known]
    (fresh,) = await world.queued(1, vendor="new")
    assert [c.notification.id for c in (await world.store.claim(me, both, 5)).claims] == [fresh]


@pytest.mark.parametrize("end", ["stopped", "dead", "never registered"])
async def test_a_claim_needs_a_live_incarnation(world: World, end: str) -> None:
    """A claim by an incarnation that is not live raises FencedError, and the entries stay for others."""
    await world.queued(1)
    me = await world.actor()
    if end == "stopped":
        await world.control.stopped(me)
    elif end == "dead":
        await world.bury(me)
    else:
        me = "a/999"
    with pytest.raises(FencedError):
        await world.store.claim(me, lanes("a"), 1)
    assert len((await world.store.claim(await world.actor(), lanes("a"), 1)).claims) == 1


async def test_wait_gives_the_first_entry_that_comes(world: World) -> None:
    """A waiting actor gets an entry as soon as it is accepted, and the entry is then claimed."""
    me = await world.actor()
    await world.store.claim(me, lanes("a"), 1)
    waiting = asyncio.ensure_future(world.store.wait(me, lanes("a"), 5, 1000))
    await asyncio.sleep(0.01)
    (nid,) = await world.queued(1)
    got = await asyncio.wait_for(waiting, 1)
    assert [c.notification.id for c in got.claims] == [nid]
    assert abs(got.now_ms - world.now_ms()) < 1000
    assert (await world.store.claim(me, lanes("a"), 5)).claims == []


async def test_wait_ends_empty_handed(world: World) -> None:
    """If no entry comes while an actor waits in a claim, the claim returns nothing."""
    me = await world.actor()
    await world.store.claim(me, lanes("a"), 1)
    got = await world.store.wait(me, lanes("a"), 5, 10)
    assert (got.claims, got.orphans) == ([], [])


async def test_a_woken_wait_leaves_what_comes_next_unclaimed(world: World) -> None:
    """An actor waits for an entry of a mailbox. `wake` ends this wait without a claim. Another actor can then claim the
    next entry.
    """
    me = await world.actor()
    await world.store.claim(me, lanes("a"), 1)
    waiting = asyncio.ensure_future(world.store.wait(me, lanes("a"), 5, 60_000))
    while not waiting.done():  # it may not have begun to block yet
        await asyncio.sleep(0.02)
        await world.store.wake()
    assert waiting.result().claims == []
    (nid,) = await world.queued(1)
    other = await world.actor()
    assert [c.notification.id for c in (await world.store.claim(other, lanes("a"), 5)).claims] == [nid]


@pytest.mark.parametrize("count", [1, 3, 9])
async def test_the_audit_finds_what_is_mine_and_unknown(world: World, count: int) -> None:
    """`own` returns the actor's pending entries, except those that the actor already knows.

    So it returns the entries of a claim whose reply got lost.
    """
    me = await world.actor()
    claims = await world.claimed(me, count)
    none_known = await world.store.own(me, lanes("a"), set())
    assert [c.notification.id for c in none_known.claims] == [c.notification.id for c in claims]
    known = {(c.lane, c.entry_id) for c in claims[1:]}
    assert [c.entry_id for c in (await world.store.own(me, lanes("a"), known)).claims] == [claims[0].entry_id]
    everything = {(c.lane, c.entry_id) for c in claims}
    assert (await world.store.own(me, lanes("a"), everything)).claims == []


async def test_the_audit_sees_nobody_elses(world: World) -> None:
    """One actor has claimed two entries. `own` returns none of them for another actor, and raises no error for a
    mailbox that was never used.
    """
    one, two = await world.actor(), await world.actor()
    await world.claimed(one, 2)
    assert (await world.store.own(two, lanes("a", "unused"), set())).claims == []
