"""Checks a courier, which claims, prepares, sends and settles notifications, and each way in which a delivery can
end.
"""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.life.notification import NewNotification
from dispatcher.core.life.outcome import Outcome, Scope
from dispatcher.core.life.retry import RetryPolicy
from dispatcher.deliver.attempt import Terms
from dispatcher.deliver.courier import CourierLimits
from dispatcher.templates.source import TemplateSource
from tests.unit.deliver.couriers import FRAGILE, courier_store
from tests.unit.stage import FaultyStore, ScriptedVendor, Stage, plan_of, tend
from tests.virtual import until, virtual


@virtual
async def test_a_notification_is_delivered_once() -> None:
    """Each accepted notification is sent once and settled, and its history has one accepted attempt at the vendor."""
    stage, vendor = Stage(), ScriptedVendor("a")
    await stage.courier(vendor)
    ids = await stage.accept(20)
    await until(lambda: stage.states() == ["settled"] * 20)
    assert sorted(vendor.ids) == sorted(ids)
    message = vendor.sent[0]
    assert (message.to, message.text, message.idempotency_key) == ("+4915112345678", "Hi", f"{ids[0]}-0-a")
    assert stage.history(ids[0]) == [("a", "accepted")]
    assert stage.counted("dispatcher_attempts", "a", "accepted") == 20


@virtual
async def test_a_lone_message_is_sent_at_once() -> None:
    """A message is accepted while the courier is idle. The courier sends it within a millisecond, and settles it right
    after the vendor's answer.
    """
    stage, vendor = Stage(), ScriptedVendor("a", duration_s=0.02)
    await stage.courier(vendor)
    await asyncio.sleep(0.5)
    began_s = stage.clock.now_s()
    await stage.accept()
    await until(lambda: stage.states() == ["settled"])
    assert vendor.times_s[0] - began_s < 0.001
    assert stage.clock.now_s() - began_s < 0.05


@virtual
async def test_a_courier_at_rest_asks_the_store_once_a_second() -> None:
    """Without work, each claim of a courier waits in the store for a second.

    The next message is still sent at once.
    """
    stage, vendor = Stage(), ScriptedVendor("a")
    store = FaultyStore(MemoryStore(stage.cell))
    await stage.courier(vendor, store=store)
    await asyncio.sleep(10.5)
    assert store.calls.count("wait") == store.calls.count("claim") == 11
    began_s = stage.clock.now_s()
    await stage.accept()
    await until(lambda: vendor.times_s != [])
    assert vendor.times_s[0] - began_s < 0.001


@virtual
async def test_a_courier_with_a_call_in_flight_looks_after_it() -> None:
    """While a call hangs, the courier waits for new entries at most 0.2 s at a time.

    So its breaker can notice the hanging call before it ends.
    """
    stage, vendor = Stage(), ScriptedVendor("a", duration_s=5.0)
    store = FaultyStore(MemoryStore(stage.cell))
    await stage.courier(vendor, store=store)
    await stage.accept()
    await until(lambda: vendor.times_s != [])
    began = len(store.calls)
    await asyncio.sleep(4.0)
    assert store.calls[began:].count("wait") >= 19


@virtual
async def test_a_courier_that_leaves_lanes_out_blocks_briefly() -> None:
    """While a courier drains only its own mailbox for a limited time, its claims block for at most 0.2 s, so that
    it notices when this time is over.
    """
    stage, vendor = Stage(), ScriptedVendor("a")
    store = FaultyStore(MemoryStore(stage.cell))
    courier = await stage.courier(vendor, store=store)
    courier.adopt_plan(plan_of(a="closed", b="open"))
    courier.delivery.own_only_until_s = stage.clock.now_s() + 4.0
    await asyncio.sleep(2.0)
    began = len(store.calls)
    await asyncio.sleep(2.0)
    assert store.calls[began:].count("wait") >= 9


@pytest.mark.parametrize(("pace_s", "least", "most"), [(0.015, 30, 70), (0.0, 150, 10_000)], ids=["paced", "unpaced"])
@virtual
async def test_claims_are_paced_while_there_is_little_work(pace_s: float, least: int, most: int) -> None:
    """200 notifications arrive one by one within a second, and all are sent.

    A courier that waits 15 ms between claims makes far fewer claims than a courier without this pace (ADR 0004).
    """
    stage, vendor = Stage(), ScriptedVendor("a")
    store = FaultyStore(MemoryStore(stage.cell))
    await stage.courier(vendor, store=store, limits=CourierLimits(claim_pace_s=pace_s))
    await asyncio.sleep(0.5)
    began = len(store.calls)
    for _ in range(200):
        await stage.accept()
        await asyncio.sleep(0.005)
    during = store.calls[began:]
    await until(lambda: stage.states() == ["settled"] * 200)
    assert least <= during.count("claim") <= most


@pytest.mark.parametrize("outcome", [Outcome.failed("http_500"), Outcome.unknown("timeout_read")])
@virtual
async def test_a_failure_moves_to_the_next_vendor(outcome: Outcome) -> None:
    """After a failed or unknown attempt the next vendor of the chain delivers the message, and its history has
    both attempts.
    """
    stage = Stage()
    a, b = ScriptedVendor("a", [outcome]), ScriptedVendor("b")
    await stage.courier(a)
    await stage.courier(b)
    (nid,) = await stage.accept()
    await until(lambda: stage.state(nid) == "settled")
    assert stage.history(nid) == [("a", outcome.kind.value), ("b", "accepted")]
    assert stage.counted("dispatcher_moves", "a", "b") == 1


@virtual
async def test_failures_before_the_vendor_is_reached_are_counted_in_a_row() -> None:
    """Calls fail in a row before the vendor is reached. They are counted, because they point to our own network.

    Any answer of the vendor sets the count to 0.
    """
    away = Outcome.failed("connect", local_origin=True)
    stage, a = Stage(), ScriptedVendor("a", [away, away, Outcome.failed("http_500")])
    courier = await stage.courier(a, limits=CourierLimits(concurrency_max=1))
    for expected in (1, 2, 0):
        before = len(a.sent)
        await stage.accept()
        await until(lambda before=before: len(a.sent) > before and not courier.in_flight)  # type: ignore[misc]
        assert courier.gate.unreached == expected


@virtual
async def test_a_rejection_is_a_dead_letter() -> None:
    """A rejected message becomes a dead letter. No other vendor is asked, and the breaker stays closed."""
    stage, a = Stage(), ScriptedVendor("a", [Outcome.rejected("bad_number")] * 4)
    courier = await stage.courier(a, breaker=FRAGILE)
    (nid, *_) = await stage.accept(4)
    await until(lambda: stage.states() == ["dead"] * 4)
    assert stage.cell.found(nid)[1].reason == "bad_number"
    assert courier.breaker.state is BreakerState.CLOSED


@virtual
async def test_throttled_burns_no_attempt() -> None:
    """A throttled message is sent again after the wait that the vendor asked for, and the throttled call costs no
    attempt.
    """
    stage, a = Stage(), ScriptedVendor("a", [Outcome.throttled("http_429", 3.0)])
    courier = await stage.courier(a, retry=RetryPolicy(attempts_max=1))
    stage.start(tend(stage, courier).run())
    (nid,) = await stage.accept()
    await until(lambda: stage.state(nid) == "settled")
    assert stage.history(nid) == [("a", "throttled"), ("a", "accepted")]
    assert a.times_s[1] - a.times_s[0] >= 3.0
    assert stage.cell.found(nid)[1].attempts == 1


@virtual
async def test_an_open_breaker_moves_what_was_claimed_and_not_sent() -> None:
    """After the breaker opened, nothing more is sent to the vendor.

    Notifications that its courier had claimed move to the next vendor without costing an attempt.
    """
    stage = Stage()
    a, b = ScriptedVendor("a", duration_s=0.05), ScriptedVendor("b")
    a.then = Outcome.failed("http_500")
    slow_store = FaultyStore(courier_store(stage))
    one = await stage.courier(a, breaker=FRAGILE, limits=CourierLimits(concurrency_max=4), store=slow_store)
    one.adopt_plan(plan_of(a="closed", b="closed"))
    await stage.courier(b)
    ids = await stage.accept(40)
    await until(lambda: stage.states() == ["settled"] * 40 or one.breaker.state is BreakerState.OPEN)
    calls = len(a.sent)
    assert calls == 4
    # A claim that was on its way when the breaker opened:
    await one.admit(one.me, await slow_store.claim(one.me, one.lanes(), 6))
    one.adopt_plan(plan_of(2, a="open", b="closed"))
    two = plan_of(2, b="closed", a="open")
    await asyncio.sleep(0)
    b_courier = await stage.courier(b)
    b_courier.adopt_plan(two)
    await until(lambda: stage.states() == ["settled"] * 40)
    assert len(a.sent) == calls
    assert sorted(b.ids) == sorted(ids)
    refused = [nid for nid in ids if len(stage.history(nid)) == 1]
    assert len(refused) == 36
    assert stage.counted("dispatcher_refusals", "a", "breaker") == 6


@virtual
async def test_an_accounts_failure_opens_at_once() -> None:
    """A vendor answers that it refuses our account. The breaker opens after this one answer, because every message
    would fail.

    The refused call costs the notification no attempt.
    """
    stage, a = Stage(), ScriptedVendor("a", [Outcome.failed("http_401", scope=Scope.ACCOUNT)])
    courier = await stage.courier(a)
    (nid,) = await stage.accept()
    await until(lambda: courier.breaker.state is BreakerState.OPEN)
    await asyncio.sleep(0.2)
    assert (len(a.sent), stage.cell.found(nid)[1].attempts) == (1, 0)


@virtual
async def test_a_template_error_is_dead_with_the_variables_name() -> None:
    """A notification whose data lacks a variable becomes a dead letter that names the variable.

    Other notifications with the same template are delivered.
    """
    stage, a = Stage(), ScriptedVendor("a")
    await stage.template_store.put(TemplateSource("receipt", "Hi {{ name }}, order {{ order }}"))
    await stage.courier(a)
    new = NewNotification("sms", "+4915112345678", ("a", "b"), "a", "receipt", 1)
    bad = await stage.accept(1, notifications=(new,), data={"name": "Ada"})
    good = await stage.accept(3, notifications=(new,), data={"name": "Ada", "order": "1"})
    missing = await stage.accept(1, notifications=(dataclasses.replace(new, template_version=9),))
    await until(lambda: "queued" not in stage.states())
    assert [stage.state(nid) for nid in (*bad, *good, *missing)] == ["dead", "settled", "settled", "settled", "dead"]
    assert "order" in (stage.cell.found(bad[0])[1].reason or "")
    assert {message.text for message in a.sent} == {"Hi Ada, order 1"}
    assert stage.counted("dispatcher_dead", "a", "template") == 2


@virtual
async def test_after_the_store_lost_data_no_other_text_is_sent() -> None:
    """After the store lost data, a template version number may get another text.

    A new trigger that names the new text is sent. An older trigger that names the lost text becomes a dead letter.
    """
    stage, a = Stage(), ScriptedVendor("a")
    texts = [TemplateSource("receipt", text) for text in ("old {{ name }}", "new {{ name }}")]
    named = [
        NewNotification("sms", "+4915112345678", ("a",), "a", "receipt", 1, template_digest=source.digest)
        for source in texts
    ]
    await stage.template_store.put(texts[0])
    await stage.courier(a)
    sent = await stage.accept(1, notifications=(named[0],))
    await until(lambda: stage.state(sent[0]) == "settled")
    stage.template_store._kept.clear()
    await stage.template_store.put(texts[1])
    new = await stage.accept(1, notifications=(named[1],))
    await until(lambda: stage.state(new[0]) == "settled")
    old = await stage.accept(1, notifications=(named[0],))
    await until(lambda: stage.state(old[0]) == "dead")
    assert [message.text for message in a.sent] == ["old Ada", "new Ada"]
    assert "another text than the accepted one" in (stage.cell.found(old[0])[1].reason or "")


@virtual
@pytest.mark.parametrize("text", ["{{ name }}" + "a" * 161, "{{ name }}\u202e"])
async def test_a_text_that_no_sms_can_have_is_never_sent(text: str) -> None:
    """A rendered text becomes a dead letter if it has more segments than the vendor's limit, or a character that
    changes the direction of writing.
    """
    stage, a = Stage(), ScriptedVendor("a")
    await stage.template_store.put(TemplateSource("receipt", text))
    await stage.courier(a, terms=Terms(RetryPolicy(), segments_max=1))
    new = NewNotification("sms", "+4915112345678", ("a",), "a", "receipt", 1)
    (nid,) = await stage.accept(1, notifications=(new,), data={"name": "A"})
    await until(lambda: stage.state(nid) == "dead")
    assert (stage.cell.found(nid)[1].reason or "").startswith("text: must ") and not a.sent


@virtual
async def test_the_segments_that_a_vendor_accepted_are_counted() -> None:
    """Vendor a fails to send an SMS of two segments, and vendor b accepts it. Two segments are counted for b, and none
    for a.
    """
    stage, a, b = Stage(), ScriptedVendor("a", [Outcome.failed("http_503")]), ScriptedVendor("b")
    for vendor in (a, b):
        await stage.courier(vendor)
    new = NewNotification("sms", "+4915112345678", ("a", "b"), "a", content={"text": "я" * 71})
    (nid,) = await stage.accept(1, notifications=(new,))
    await until(lambda: stage.state(nid) == "settled")
    counted = [stage.counted("dispatcher_sms_segments", name) for name in "ab"]
    assert counted == [0, 2]


@virtual
async def test_a_vendor_is_told_how_long_a_message_lives() -> None:
    """The vendor is told how many seconds of a message's time to live are left when it is sent."""
    stage, a = Stage(), ScriptedVendor("a")
    await stage.accept(1, expires_ms=stage.clock.wall_ms() + 300_000)
    await stage.courier(a)
    await until(lambda: bool(a.sent))
    assert 299.0 < (a.sent[0].expires_in_s or 0) <= 300.0


@pytest.mark.parametrize(("policy", "sent", "state"), [("resend", 2, "settled"), ("hold", 1, "held")])
@virtual
async def test_a_broken_adapter_may_have_sent(policy: str, sent: int, state: str) -> None:
    """After an exception from an adapter nobody knows whether the message was sent.

    Under `resend` the message is sent again, and under `hold` it is held.
    """
    stage, a = Stage(), ScriptedVendor("a", [RuntimeError("bug")])
    courier = await stage.courier(a)
    courier.adopt_plan(plan_of(a="closed"))
    stage.start(tend(stage, courier).run())
    (nid,) = await stage.accept(on_unknown=policy)
    await until(lambda: stage.state(nid) == state, 10.0)
    await asyncio.sleep(5.0)
    assert (len(a.sent), stage.state(nid)) == (sent, state)


@virtual
async def test_unknown_under_hold_is_held() -> None:
    """After an unknown outcome under `hold` the notification is held, and no vendor gets it again."""
    stage, a, b = Stage(), ScriptedVendor("a", [Outcome.unknown("timeout_read")]), ScriptedVendor("b")
    await stage.courier(a)
    await stage.courier(b)
    (nid,) = await stage.accept(on_unknown="hold")
    await until(lambda: stage.state(nid) == "held")
    await asyncio.sleep(5.0)
    assert (a.ids, b.ids) == ([nid], [])


@virtual
async def test_held_past_its_deadline_is_a_dead_letter() -> None:
    """A held notification without proof at its deadline becomes a dead letter with the reason `unknown`."""
    stage, a = Stage(), ScriptedVendor("a", [Outcome.unknown("timeout_read")])
    courier = await stage.courier(a, retry=RetryPolicy(hold_s=30.0))
    stage.start(tend(stage, courier).run())
    (nid,) = await stage.accept(on_unknown="hold")
    await until(lambda: stage.state(nid) == "dead")
    assert stage.cell.found(nid)[1].reason == "unknown"


@virtual
async def test_expired_ones_are_not_sent() -> None:
    """A notification whose time to live is over before its call becomes a dead letter and is not sent."""
    stage, a = Stage(), ScriptedVendor("a")
    await stage.courier(a)
    (nid,) = await stage.accept(expires_ms=stage.clock.wall_ms())
    await until(lambda: stage.state(nid) == "dead")
    assert (a.sent, stage.cell.found(nid)[1].reason) == ([], "expired")


@virtual
async def test_a_held_mailbox_expires_without_claiming() -> None:
    """While every vendor is down and nobody claims, an expired notification becomes a dead letter.

    A notification with time left stays queued.
    """
    stage, a = Stage(), ScriptedVendor("a")
    courier = await stage.courier(a)
    courier.breaker.force(BreakerState.FORCED_OPEN, 0)
    courier.adopt_plan(plan_of(a="open"))
    stage.start(tend(stage, courier).run())
    (nid,) = await stage.accept(expires_ms=stage.clock.wall_ms() + 5000)
    (later,) = await stage.accept()
    await until(lambda: stage.state(nid) == "dead", 10.0)
    assert (stage.state(later), a.sent) == ("queued", [])
