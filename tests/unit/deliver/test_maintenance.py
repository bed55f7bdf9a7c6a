"""Checks the maintenance that each actor does: it returns delayed notifications to mailboxes, and ends what
expired in a mailbox without a drainer.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.core.plan.values import Plan
from dispatcher.deliver.maintenance import UNKNOWN_MS_MAX, UNKNOWN_WAIT_MS, Caretaker
from tests.unit.stage import FaultyStore, ScriptedVendor, Stage, plan_of, tend
from tests.virtual import until, virtual


async def caretaker(stage: Stage, plan: Plan | None = None, vendors: str = "a") -> Caretaker:
    """Return the Caretaker of an actor of vendor a whose configuration names `vendors`. Its background loops are not
    started.
    """
    courier = await stage.courier(ScriptedVendor("a"), run=False)
    if plan is not None:
        courier.adopt_plan(plan)
    return Caretaker(courier, MemoryStore(stage.cell), stage.clock, frozenset(vendors))


async def due(stage: Stage, chain: str) -> str:
    """Accept a notification with this chain whose `send_at` has just passed. Return its id."""
    (nid,) = await stage.accept(1, vendor=chain[0], chain=tuple(chain), send_at_ms=stage.clock.wall_ms() - 1)
    return nid


@virtual
async def test_an_actor_of_before_a_change_condemns_nothing_that_the_plan_knows() -> None:
    """A new vendor is in the plan, but not yet in the configuration with which an older actor was started.

    The older actor promotes a due notification for the new vendor, and does not make it a dead letter.
    """
    stage = Stage()
    nid = await due(stage, "n")
    await (await caretaker(stage, plan_of(a="closed", n="closed"))).promote()
    assert (stage.state(nid), stage.cell.found(nid)[1].vendor) == ("queued", "n")


@virtual
async def test_a_chain_that_nobody_knows_is_dead_after_half_a_minute() -> None:
    """If neither the plan nor the file knows any vendor of a chain, the notification becomes a dead letter after
    half a minute. Without a plan the notification only waits.
    """
    stage = Stage()
    nid = await due(stage, "n")
    tender = await caretaker(stage)
    for plan in (None, plan_of(a="closed")):
        if plan is not None:
            tender._courier.adopt_plan(plan)
        for _ in range(UNKNOWN_MS_MAX // UNKNOWN_WAIT_MS):
            await tender.promote()
            assert stage.state(nid) == "delayed"
            assert stage.cell.delayed[nid] == stage.clock.wall_ms() + UNKNOWN_WAIT_MS
            await asyncio.sleep(UNKNOWN_WAIT_MS / 1000)
    await tender.promote()
    assert (stage.state(nid), stage.cell.found(nid)[1].reason) == ("dead", "no_vendor")


@virtual
async def test_what_waits_in_the_mailbox_of_a_removed_vendor_is_dead_within_two_minutes() -> None:
    """A notification in the mailbox of a removed vendor becomes a dead letter within two minutes, long before its
    time to live ends, so that it can be redriven.
    """
    stage, a = Stage(), ScriptedVendor("a")
    courier = await stage.courier(a)
    plan = plan_of(a="closed")
    courier.adopt_plan(replace(plan, vendors={"a": replace(plan.vendors["a"], drains=("a", "n"))}))
    stage.start(Caretaker(courier, MemoryStore(stage.cell), stage.clock, frozenset("a")).run())
    (nid,) = await stage.accept(1, vendor="n", chain=("n",))
    began_s = stage.clock.now_s()
    await until(lambda: stage.state(nid) == "dead", 1800)
    assert stage.cell.found(nid)[1].reason == "no_vendor" and not a.sent
    assert stage.clock.now_s() - began_s < 120


@virtual
async def test_a_plan_that_comes_within_half_a_minute_saves_it() -> None:
    """A due notification is for a vendor that no plan knows, so it waits. Later a plan comes that knows the vendor.

    The notification is then queued for this vendor and does not become a dead letter.
    """
    stage = Stage()
    tender = await caretaker(stage, plan_of(a="closed"))
    nid = await due(stage, "n")
    await tender.promote()
    await asyncio.sleep(20.0)
    await tender.promote()
    await asyncio.sleep(20.0)
    tender._courier.adopt_plan(plan_of(2, a="closed", n="closed"))
    await tender.promote()
    assert (stage.state(nid), stage.cell.found(nid)[1].vendor) == ("queued", "n")


@virtual
async def test_a_vendor_s_absence_of_long_ago_condemns_nothing() -> None:
    """A notification whose vendor is unknown waits for half a minute before it becomes a dead letter.

    The half minute begins again for each notification, also if another one met the same unknown vendor long ago.
    """
    stage = Stage()
    tender = await caretaker(stage, plan_of(a="closed"))
    await due(stage, "n")
    await tender.promote()
    await asyncio.sleep(UNKNOWN_MS_MAX * 3 / 1000)
    nid = await due(stage, "n")
    await tender.promote()
    assert stage.state(nid) == "delayed"


def held(*names: str) -> Plan:
    """Return a plan in which vendor a drains its own mailbox and nobody drains the mailboxes of `names`."""
    return replace(plan_of(a="closed"), undrained=dict.fromkeys(names, "vendor removed, no healthy vendor left"))


@pytest.mark.parametrize("mailbox", ["removed", "a"])
@virtual
async def test_what_expires_where_nobody_drains_is_ended(mailbox: str) -> None:
    """A sweep ends expired notifications in a mailbox that nobody drains, also if the mailbox's vendor was removed.

    Notifications with time left stay queued.
    """
    stage = Stage()
    over = stage.clock.wall_ms() - 1
    expired = await stage.accept(600, vendor=mailbox, chain=(mailbox,), expires_ms=over)
    (bulk,) = await stage.accept(1, vendor=mailbox, chain=(mailbox,), expires_ms=over, priority="bulk")
    (fresh,) = await stage.accept(1, vendor=mailbox, chain=(mailbox,))
    await (await caretaker(stage, held(mailbox))).sweep()
    assert {stage.state(nid) for nid in (*expired, bulk)} == {"dead"}
    assert stage.cell.found(bulk)[1].reason == "expired"
    assert stage.state(fresh) == "queued"


@virtual
async def test_many_mailboxes_are_swept_in_turn() -> None:
    """Three mailboxes have no drainer, and each has an expired notification. Each sweep ends the notification of one of
    these mailboxes.

    A mailbox with a drainer is not swept, because the drainer finds what expired.
    """
    stage = Stage()
    over = stage.clock.wall_ms() - 1
    ids = [(await stage.accept(1, vendor=name, chain=(name,), expires_ms=over))[0] for name in ("x", "y", "z", "a")]
    one = await caretaker(stage, held("x", "y", "z"))
    dead = []
    for _ in range(3):
        await one.sweep()
        dead.append(sum(stage.state(nid) == "dead" for nid in ids))
    assert dead == [1, 2, 3]
    assert stage.state(ids[3]) == "queued"


@virtual
async def test_a_taken_claim_wakes_the_courier() -> None:
    """A courier without work blocks in a long read of the store. Then its actor takes the claim of a dead actor and
    sends it.

    The courier stops blocking, so that it notices the end of this call.
    """
    stage, vendor = Stage(), ScriptedVendor("a", duration_s=30.0)
    store = FaultyStore(MemoryStore(stage.cell))
    courier = await stage.courier(vendor, store=store, run=False)
    dead = await stage.control.register("a")
    await stage.accept()
    await MemoryStore(stage.cell).claim(dead, courier.lanes(), 1)
    await stage.control.stopped(dead)
    stage.start(courier.run())
    await asyncio.sleep(0.5)
    began = len(store.calls)
    await tend(stage, courier, store).take()
    await asyncio.sleep(0.5)
    assert vendor.sent and store.calls[began:].count("wait") >= 2


@virtual
async def test_an_actor_knows_when_the_silence_of_the_store_makes_it_doubt() -> None:
    """An actor's link is stale one second after the store's last answer.

    A later answer does not make the link fresh again.
    """
    stage = Stage()
    courier = await stage.courier(ScriptedVendor("a"), run=False)
    assert courier.link.stale_in_s() == pytest.approx(1.0)
    await asyncio.sleep(0.4)
    courier.link.replied()
    await asyncio.sleep(0.7)
    assert courier.link.stale_in_s() == pytest.approx(0.3)
    await asyncio.sleep(0.31)
    assert courier.link.stale() and courier.link.stale_in_s() == 0.0
    courier.link.replied()
    assert courier.link.stale() and courier.link.stale_in_s() == 0.0
