"""Checks late outcomes, and outcomes that say nothing about the vendor.

A late acceptance settles its notification, and none of these outcomes opens a breaker.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.core.breaker.config import BreakerConfig, BreakerState
from dispatcher.core.life.decide import Settle
from dispatcher.core.life.notification import Attempt
from dispatcher.core.life.outcome import Outcome, Scope
from dispatcher.core.life.retry import RetryPolicy
from dispatcher.deliver.late_successes import LateSuccesses
from tests.unit.stage import ScriptedVendor, Stage, plan_of, tend
from tests.virtual import until, virtual

QUICK = BreakerConfig(
    window_type="COUNT", window_size=4, min_calls=4, consecutive_failures=2, open_wait_ms=500, open_wait_jitter=0.0
)


async def buried(stage: Stage, incarnation: str) -> None:
    term, _ = await stage.control.begin_term()
    await stage.control.bury({incarnation: 0}, term)


@virtual
async def test_a_yes_that_comes_after_the_takeover_ends_what_is_held() -> None:
    """Under `hold`, an actor is declared dead while its call is open. Another actor takes the message over, and it is
    held.

    The vendor then accepts the first actor's call. The message is settled, and the other actor does not send it.
    """
    stage, slow, other = Stage(), ScriptedVendor("a", duration_s=3.0), ScriptedVendor("a")
    owner = await stage.courier(slow)
    (nid,) = await stage.accept(on_unknown="hold")
    await until(lambda: len(slow.sent) == 1)
    await buried(stage, owner.me)
    heir = await stage.courier(other)
    stage.start(tend(stage, heir).run())
    await until(lambda: stage.state(nid) == "held")
    await until(lambda: stage.state(nid) == "settled", 10)
    assert other.sent == []


@virtual
async def test_a_yes_that_comes_after_the_takeover_ends_what_waits() -> None:
    """An actor is declared dead during its call. Under `resend` another actor takes the message, which then waits for
    its next try.

    When the first call is accepted late, the message is settled and not sent again.
    """
    stage, slow = Stage(), ScriptedVendor("a", duration_s=3.0)
    other = ScriptedVendor("a", [Outcome.failed("x", retry_after_s=30.0)])
    owner = await stage.courier(slow)
    (nid,) = await stage.accept(chain=("a",))
    await until(lambda: len(slow.sent) == 1)
    await buried(stage, owner.me)
    heir = await stage.courier(other)
    stage.start(tend(stage, heir).run())
    await until(lambda: stage.state(nid) == "due")
    await until(lambda: stage.state(nid) == "settled", 10)
    assert len(other.sent) == 1


@pytest.mark.parametrize(
    "outcome",
    [Outcome.failed("key", scope=Scope.ACCOUNT), Outcome.throttled("429", 30.0), Outcome.failed("x", retry_after_s=30)],
    ids=["account", "throttled", "hint"],
)
@virtual
async def test_a_late_word_does_not_open_a_recovered_breaker(outcome: Outcome) -> None:
    """A call begins, then the breaker is reset, and then the call ends badly. This late outcome does not open the
    breaker.
    """
    stage, vendor = Stage(), ScriptedVendor("a", duration_s=2.0)
    courier = await stage.courier(vendor)
    vendor.then = outcome
    await stage.accept(1)
    await until(lambda: len(vendor.sent) == 1)
    now_ns = int(stage.clock.now_s() * 1e9)
    courier.breaker.open_for(10**9, now_ns)
    courier.breaker.reset(now_ns)
    assert courier.breaker.state is BreakerState.CLOSED
    await until(lambda: not courier.in_flight, 10)
    assert courier.breaker.state is BreakerState.CLOSED


@virtual
async def test_our_own_bug_opens_nobodys_breaker() -> None:
    """Twenty exceptions from an adapter leave its vendor's breaker closed."""
    stage, vendor = Stage(), ScriptedVendor("a", [RuntimeError("bug")] * 20)
    courier = await stage.courier(vendor, breaker=QUICK)
    await stage.accept(20, chain=("a",))
    await until(lambda: len(vendor.sent) >= 20 and not courier.in_flight)
    assert courier.breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize(
    ("outcome", "states"),
    [
        (Outcome.failed("connect", local_origin=True), {"due", "queued"}),
        (Outcome.failed("refused"), {"due", "queued"}),
        (Outcome.unknown("http_500"), {"dead"}),
    ],
    ids=["never reached", "surely not sent", "maybe sent"],
)
@virtual
async def test_probes_of_a_long_outage_do_not_use_up_their_message(outcome: Outcome, states: set[str]) -> None:
    """During a long outage one message is sent again and again as a probe.

    If each call may have delivered the message, it becomes a dead letter. If the calls surely sent nothing, the message
    is still queued or due after ten minutes.
    """
    stage, vendor = Stage(), ScriptedVendor("a")
    vendor.then = outcome
    courier = await stage.courier(vendor, breaker=QUICK, retry=RetryPolicy(cap_s=1.0))
    stage.start(tend(stage, courier).run())
    courier.adopt_plan(plan_of(a="half_open"))
    (nid,) = await stage.accept(chain=("a",))
    await asyncio.sleep(600)
    assert len(vendor.sent) >= 8
    assert stage.state(nid) in states


@pytest.mark.parametrize("hint_s", [None, 0.0, 1.0, 1.9])
@virtual
async def test_a_vendor_that_throttles_and_names_no_time_is_left_to_its_fallback(hint_s: float | None) -> None:
    """A vendor throttles each call, and asks for a wait of less than two seconds or for none. Its breaker opens.

    The other vendor sends all messages, and none runs out of attempts.
    """
    stage, a, b = Stage(), ScriptedVendor("a"), ScriptedVendor("b")
    a.then = Outcome.throttled("429", hint_s)
    first, second = await stage.courier(a), await stage.courier(b)

    def tell() -> None:
        for courier in couriers:
            courier.adopt_plan(plan_of(9, a=first.breaker.state.value, b="closed"))

    first.gate._on_change = tell
    couriers = [first, second]
    for courier in couriers:
        stage.start(tend(stage, courier).run())
    await stage.accept(200)
    await until(lambda: stage.states() == ["settled"] * 200, 30)
    assert len(b.sent) == 200
    assert len(a.sent) < 120
    assert stage.counted("dispatcher_dead", "a", "attempts_exhausted") == 0


@virtual
async def test_a_throttle_now_and_then_opens_nothing() -> None:
    """If one call in three is throttled and the others are accepted, the breaker stays closed."""
    stage, a = (
        Stage(),
        ScriptedVendor("a", [Outcome.throttled("429") if n % 3 else Outcome.accepted("x") for n in range(60)]),
    )
    courier = await stage.courier(a)
    stage.start(tend(stage, courier).run())
    await stage.accept(60, chain=("a",))
    await until(lambda: stage.states() == ["settled"] * 60, 60)
    assert courier.breaker.state is BreakerState.CLOSED


@virtual
async def test_a_yes_is_remembered_for_the_call_it_was_about() -> None:
    """An actor remembers that its vendor accepted a message whose claim it had lost. When the message is sent again
    because a receipt refused it, or when the caller uses the key again after a day, that is no news of the new call.
    """
    stage = Stage()
    late = LateSuccesses(MemoryStore(stage.cell), stage.clock, lambda: 0.5)
    (nid,) = await stage.accept()
    n = stage.cell.notification(nid, stage.cell.found(nid)[1].entry_id)
    assert n is not None
    settle = Settle(Attempt(0, "a", "accepted", "", 1, "v-1"), 1)
    late.tell(n, settle)
    assert late.known(n) == settle
    assert late.known(replace(n, reopened=1)) is None
    assert late.known(replace(n, generation=1)) is None
    assert late.known(replace(n, accepted_ms=n.accepted_ms + 86_400_000)) is None
