"""Tests what a receipt changes in the store."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.life.receipt import ReceiptLinks, Told
from dispatcher.errors import CallerError, UnavailableError
from dispatcher.operate import receipts
from dispatcher.operate.receipts import Receipts
from dispatcher.telemetry.metrics import Metrics
from tests.contract.worlds import World, hold, retry

LINKS = ReceiptLinks("http://127.0.0.1:1", "secret")


def hearing(world: World) -> Receipts:
    return Receipts(LINKS, world.store, world.views, Metrics(), readers={})


def told(nid: str, taken: bool | None = True) -> Told:
    return Told(nid, LINKS.link("a", nid).token, taken)


@pytest.mark.parametrize(("taken", "state"), [(True, "settled"), (False, "dead"), (None, "held")])
async def test_a_held_notification_ends_with_the_vendors_word(world: World, taken: bool | None, state: str) -> None:
    """The receipt "delivered" settles a held notification, "undelivered" makes it a dead letter, another word changes
    nothing.

    A second receipt of the same kind changes nothing more.
    """
    me = await world.actor()
    (claim,) = await world.claimed(me)
    nid = claim.notification.id
    await world.store.apply(me, [(claim, hold(60_000))], world.now_ms())
    for _ in range(2):
        await hearing(world).hear("a", [told(nid, taken)])
        assert await world.state(nid) == state


async def test_a_late_yes_stops_a_retry(world: World) -> None:
    """For a due notification, "undelivered" changes nothing, and "delivered" settles it, so that it is not sent
    again.
    """
    me = await world.actor()
    (claim,) = await world.claimed(me)
    nid = claim.notification.id
    await world.store.apply(me, [(claim, retry(-5))], world.now_ms())
    assert await hearing(world).hear("a", [told(nid, False)]) == {"undelivered": 1}
    assert await world.state(nid) == "due"
    assert await hearing(world).hear("a", [told(nid)]) == {"settled": 1}
    assert (await world.store.due())[1] == []


async def test_one_that_comes_during_the_call_is_kept_until_the_call_ends(world: World) -> None:
    """A receipt comes while the notification is claimed. It waits until the call has ended, and then settles it.

    Twilio sends a receipt before we have the answer to the call, and repeats it only if we ask for that.
    """
    me = await world.actor()
    (claim,) = await world.claimed(me)
    nid = claim.notification.id
    hears = asyncio.ensure_future(hearing(world).hear("a", [told(nid)]))
    await asyncio.sleep(2 * receipts.LOOK_S)
    assert not hears.done() and await world.state(nid) == "queued"
    await world.store.apply(me, [(claim, hold(60_000))], world.now_ms())
    assert await hears == {"settled": 1}
    assert await world.state(nid) == "settled"


async def test_no_more_are_kept_than_there_is_room_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receipt that comes during a call is kept until the call has ended.

    If too many receipts are kept already, UnavailableError is raised, so that the provider sends the receipt again.
    """
    monkeypatch.setattr(receipts, "KEPT_MAX", 0)
    monkeypatch.setattr(receipts, "KEPT_S", 3600.0)
    (claim,) = await world.claimed(await world.actor())
    with pytest.raises(UnavailableError):
        await asyncio.wait_for(hearing(world).hear("a", [told(claim.notification.id)]), 30)


async def test_one_that_is_being_sent_is_to_be_told_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call-back has two receipts. The first is for a notification that stays claimed for longer than a receipt may
    wait.

    UnavailableError asks the provider to repeat the call-back. The second receipt is applied already.
    """
    monkeypatch.setattr(receipts, "KEPT_S", receipts.LOOK_S)
    me = await world.actor()
    one, other = await world.claimed(me), await world.claimed(me)
    await world.store.apply(me, [(other[0], hold(60_000))], world.now_ms())
    ids = [one[0].notification.id, other[0].notification.id]
    with pytest.raises(UnavailableError):
        await hearing(world).hear("a", [told(nid) for nid in ids])
    assert [await world.state(nid) for nid in ids] == ["queued", "settled"]


async def test_a_forged_receipt_changes_nothing(world: World) -> None:
    """A receipt with a wrong token changes nothing, and its call-back is answered 403. If the call-back also has a
    valid receipt, the valid receipt counts.

    A valid receipt about an unknown notification is no error.
    """
    me = await world.actor()
    (claim,) = await world.claimed(me)
    nid = claim.notification.id
    await world.store.apply(me, [(claim, hold(60_000))], world.now_ms())
    forged = Told(nid, "0" * 32, True)
    with pytest.raises(CallerError) as caught:
        await hearing(world).hear("a", [forged])
    assert caught.value.status == 403
    assert await hearing(world).hear("a", [forged, told("0-nobody.0")]) == {"unknown": 1}
    assert await world.state(nid) == "held"
