"""A claimed notification is delivered once, also after a lost reply, a dead actor, a restart, an outage of the
store or a drain.
"""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.life.notification import Lane
from dispatcher.core.life.retry import RetryPolicy
from dispatcher.deliver.attempt import Terms
from dispatcher.deliver.courier import CourierLimits
from dispatcher.errors import FencedError, UnavailableError
from dispatcher.ports import Claims
from tests.unit.deliver.couriers import courier_store
from tests.unit.stage import FaultyStore, ScriptedVendor, Stage, plan_of, tend
from tests.virtual import until, virtual


@virtual
async def test_a_cancelled_delivery_stays_pending_and_the_audit_finds_it() -> None:
    """A delivery is cancelled during its call. Its claim stays with the actor.

    The actor's next audit finds the claim and sends the message a second time.
    """
    stage, a = Stage(), ScriptedVendor("a", duration_s=5.0)
    courier = await stage.courier(a)
    stage.start(tend(stage, courier).run())
    (nid,) = await stage.accept()
    await until(lambda: a.sent)
    a.duration_s = 0.01
    for call in set(courier._calls):
        call.cancel()
    await until(lambda: stage.state(nid) == "settled", 2.0)
    assert a.ids == [nid, nid]
    assert stage.counted("dispatcher_recovered_claims", "a") == 1


@virtual
async def test_a_cancelled_delivery_under_hold_is_not_sent_again() -> None:
    """Under `hold`, the sending of a notification is cancelled. It may have been sent, so the next audit makes it held,
    and it is not sent again.

    An audit asks the store for claims that the actor has and does not work on.
    """
    stage, a = Stage(), ScriptedVendor("a", duration_s=5.0)
    courier = await stage.courier(a)
    stage.start(tend(stage, courier).run())
    (nid,) = await stage.accept(on_unknown="hold")
    await until(lambda: a.sent)
    for call in set(courier._calls):
        call.cancel()
    await until(lambda: stage.state(nid) == "held", 2.0)
    assert a.ids == [nid]


@virtual
async def test_a_lost_claim_reply_is_found_by_the_audit() -> None:
    """If the reply to a claim is lost, the actor's audit finds the claimed entries in the store and delivers them."""
    stage, a = Stage(), ScriptedVendor("a")
    store = FaultyStore(courier_store(stage))
    store.lose = ["claim", "wait"]
    courier = await stage.courier(a, store=store)
    stage.start(tend(stage, courier, store).run())
    ids = await stage.accept(3)
    await until(lambda: stage.states() == ["settled"] * 3, 3.0)
    assert sorted(a.ids) == sorted(ids)


@virtual
async def test_a_lost_claim_is_found_after_the_mailbox_went_to_another() -> None:
    """The audit finds a claim whose reply was lost, even if the plan has given the mailbox to another vendor
    since, and delivers it.
    """
    stage, b = Stage(), ScriptedVendor("b")
    store = FaultyStore(courier_store(stage))
    courier = await stage.courier(b, store=store, run=False)
    courier.adopt_plan(plan_of(1, b="closed", a="open"))
    (nid,) = await stage.accept()
    store.lose = ["claim"]
    with pytest.raises(UnavailableError):
        await store.claim(courier.me, courier.lanes(), 1)
    courier.adopt_plan(plan_of(2, b="closed", a="closed"))
    assert Lane("a", "normal") not in courier.lanes()
    await tend(stage, courier, store).audit()
    stage.start(courier.outbox.run())
    await until(lambda: stage.state(nid) == "settled", 1.0)
    assert b.ids == [nid]


@pytest.mark.parametrize("again", [False, True], ids=["alone", "and another begins meanwhile"])
@virtual
async def test_a_late_audit_sends_nothing_twice(again: bool) -> None:
    """While an audit asks the store, a notification is claimed, sent and settled. The audit's answer may still contain
    it.

    It is not sent again, even if a second audit runs meanwhile.
    """
    stage, a = Stage(), ScriptedVendor("a", duration_s=0.01)
    store = courier_store(stage)

    class LateOwn(FaultyStore):
        async def own(self, me: str, lanes: list[Lane], known: set[tuple[Lane, str]]) -> Claims:
            await asyncio.sleep(0.005)
            seen = await store.own(me, lanes, known)
            await asyncio.sleep(0.5)
            return seen

    late = LateOwn(store)
    courier = await stage.courier(a, store=late)
    await asyncio.sleep(0.1)
    caretaker = tend(stage, courier, late)
    audit = asyncio.ensure_future(caretaker.audit())
    await asyncio.sleep(0.001)
    (nid,) = await stage.accept()
    if again:
        await asyncio.sleep(0.1)
        await caretaker.audit()
    await audit
    await asyncio.sleep(0.5)
    assert (stage.state(nid), a.ids) == ("settled", [nid])


@virtual
async def test_the_claims_of_the_dead_are_delivered_by_the_living() -> None:
    """Another actor of the same mailbox takes the claims of a dead actor and delivers them."""
    stage, dying, a = Stage(), ScriptedVendor("a", duration_s=60.0), ScriptedVendor("a")
    first = await stage.courier(dying, terms=Terms(RetryPolicy(), timeout_s=60.0))
    ids = await stage.accept(3)
    await until(lambda: len(dying.sent) == 3)
    for task in (*stage.tasks, *first._calls):
        task.cancel()
    term, _ = await stage.control.begin_term()
    await stage.control.bury({first.me: 0}, term)
    second = await stage.courier(a)
    stage.start(tend(stage, second).run())
    await until(lambda: stage.states() == ["settled"] * 3, 3.0)
    assert sorted(a.ids) == sorted(ids)


@virtual
async def test_a_store_outage_is_waited_out() -> None:
    """While the store is away for 30 s, at most four of ten messages are sent.

    Afterwards all messages are delivered, each once.
    """
    stage, a = Stage(), ScriptedVendor("a", duration_s=0.05)
    store = FaultyStore(courier_store(stage))
    courier = await stage.courier(a, store=store, limits=CourierLimits(concurrency_max=2))
    stage.start(tend(stage, courier, store).run())
    ids = await stage.accept(10)
    await until(lambda: len(a.sent) >= 2)
    store.away = True
    await asyncio.sleep(30.0)
    assert len(a.sent) <= 4
    assert courier.link.stale()
    store.away = False
    courier.renewed(asyncio.get_running_loop().time())
    await until(lambda: stage.states() == ["settled"] * 10)
    assert sorted(a.ids) == sorted(ids)


@virtual
async def test_an_answer_that_waited_for_a_sleeper_to_wake_does_not_wake_his_trust() -> None:
    """An actor that was frozen for three seconds does not trust an old reply of the store and sends nothing.

    Only a renewal of its incarnation ends this doubt.
    """
    stage, a = Stage(), ScriptedVendor("a")
    courier = await stage.courier(a, run=False)
    await stage.accept()
    got = await courier_store(stage).claim(courier.me, courier.lanes(), 1)
    await asyncio.sleep(3.0)
    courier.link.replied()
    await courier.admit(courier.me, got)
    await asyncio.sleep(0.1)
    courier.link.replied()
    assert courier.link.stale()
    assert a.sent == []
    courier.renewed(stage.clock.now_s())
    assert not courier.link.stale()


@virtual
async def test_a_fenced_courier_stops() -> None:
    """The claim loop of an incarnation that was declared dead ends with FencedError and sends nothing."""
    stage, a = Stage(), ScriptedVendor("a")
    courier = await stage.courier(a, run=False)
    term, _ = await stage.control.begin_term()
    await stage.control.bury({courier.me: 0}, term)
    await stage.accept()
    with pytest.raises(FencedError):
        await courier.run()
    assert a.sent == []


@pytest.mark.parametrize(("policy", "calls"), [("hold", 0), ("resend", 1)])
@virtual
async def test_a_start_mark_that_is_refused_means_no_send(policy: str, calls: int) -> None:
    """An incarnation has claimed a notification, and is then declared dead. Under `hold` the store refuses the start
    mark, so nothing is sent. Under `resend` there is no mark, and the message is sent.
    """
    stage, a = Stage(), ScriptedVendor("a")
    courier = await stage.courier(a, run=False)
    await stage.accept(on_unknown=policy)
    got = await courier_store(stage).claim(courier.me, courier.lanes(), 1)
    term, _ = await stage.control.begin_term()
    await stage.control.bury({courier.me: 0}, term)
    await courier.admit(courier.me, got)
    await asyncio.sleep(0.2)
    assert len(a.sent) == calls


@pytest.mark.parametrize("ended", ["stopping", "renamed"])
@virtual
async def test_a_claim_that_comes_too_late_is_left_to_the_next(ended: str) -> None:
    """The reply to a claim arrives when the incarnation is ending or has ended. This actor then sends nothing.

    Another actor takes the claim and sends the message, and no crash is counted.
    """
    stage, a = Stage(), ScriptedVendor("a")
    courier = await stage.courier(a, run=False)
    (nid,) = await stage.accept()
    me = courier.me
    got = await courier_store(stage).claim(me, courier.lanes(), 1)
    if ended == "stopping":
        courier.stopping = True
    else:
        courier.begin(await stage.control.register("a"))
    await courier.admit(me, got)
    await asyncio.sleep(1.0)
    assert (a.sent, courier.known()) == ([], set())
    await stage.control.stopped(me)
    other = await stage.courier(a)
    await tend(stage, other).take()
    await until(lambda: stage.state(nid) == "settled", 1.0)
    assert (a.ids, stage.cell.found(nid)[1].crashes) == ([nid], 0)


@virtual
async def test_what_was_taken_from_my_last_name_is_not_forgotten() -> None:
    """An actor begins a new incarnation and takes the claim of its own earlier incarnation. The earlier incarnation has
    sent the message, and its outcome is not stored yet.

    The outcome is stored within a second, and the message is not sent again.
    """
    stage, a = Stage(), ScriptedVendor("a")
    courier = await stage.courier(a, run=False)
    caretaker = tend(stage, courier, audit_s=5.0)
    (nid,) = await stage.accept()
    old = courier.me
    await courier.admit(old, await courier_store(stage).claim(old, courier.lanes(), 1))
    await asyncio.sleep(0.5)
    courier.begin(await stage.control.register("a"))
    await stage.control.stopped(old)
    await caretaker.take()
    stage.start(courier.outbox.run())
    stage.start(caretaker.run())
    await until(lambda: stage.state(nid) == "settled", 1.0)
    assert a.ids == [nid]


@virtual
async def test_what_was_not_sent_after_a_short_sleep_is_sent_soon() -> None:
    """An actor claims a message and then sleeps for 1.5 s. When it wakes, it does not send the message, because it may
    have been declared dead meanwhile.

    After its incarnation is renewed, its audit sends the message within a second.
    """
    stage, a = Stage(), ScriptedVendor("a")
    courier = await stage.courier(a, run=False)
    caretaker = tend(stage, courier, audit_s=5.0)
    (nid,) = await stage.accept()
    got = await courier_store(stage).claim(courier.me, courier.lanes(), 1)
    await asyncio.sleep(1.5)
    await courier.admit(courier.me, got)
    await asyncio.sleep(0)
    assert a.sent == []
    courier.renewed(asyncio.get_running_loop().time())
    stage.start(caretaker.run())
    stage.start(courier.outbox.run())
    await until(lambda: stage.state(nid) == "settled", 1.0)


@virtual
async def test_draining_finishes_what_was_begun() -> None:
    """A courier that is told to finish claims nothing new. The calls in flight end, and their outcomes are settled."""
    stage, a = Stage(), ScriptedVendor("a", duration_s=0.3)
    courier = await stage.courier(a, limits=CourierLimits(concurrency_max=3))
    await stage.accept(9)
    await until(lambda: len(a.sent) == 3)
    await courier.finish(5.0)
    assert (len(a.sent), len(courier.outbox), courier.known()) == (3, 0, set())
    assert stage.states().count("settled") == 3
