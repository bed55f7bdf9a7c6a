"""Checks one delivery from claim to outcome while something on our side breaks: memory runs out, or our code has a
bug.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dispatcher.core.life.notification import NewNotification
from dispatcher.core.life.retry import RetryPolicy
from dispatcher.deliver import attempt as delivery
from dispatcher.deliver.attempt import Delivery, Terms
from dispatcher.deliver.courier import CourierLimits
from dispatcher.deliver.permits import Gate
from dispatcher.errors import UnavailableError
from dispatcher.telemetry.metrics import Metrics
from dispatcher.templates import compile as compiling
from dispatcher.templates.engine import Engine
from dispatcher.templates.source import TemplateSource
from tests.unit.stage import ScriptedVendor, Stage, plan_of, suspected, tend
from tests.virtual import until, virtual


def first_raises(inner: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """Return a function that raises `error` on its first call and then calls `inner`."""
    errors = [error]

    def call(*args: Any, **more: Any) -> Any:
        if errors:
            raise errors.pop()
        return inner(*args, **more)

    return call


@pytest.mark.parametrize(("of", "name"), [(Engine, "render"), (compiling, "parse")], ids=["rendering", "compiling"])
@virtual
async def test_without_memory_to_render_it_waits(monkeypatch: pytest.MonkeyPatch, of: Any, name: str) -> None:
    """If memory runs out while a message is rendered, the message is sent a little later.

    The message does not become a dead letter, because it is not at fault.
    """
    stage, a = Stage(), ScriptedVendor("a")
    await stage.template_store.put(TemplateSource("receipt", "Hi {{ name }}"))
    monkeypatch.setattr(of, name, first_raises(getattr(of, name), MemoryError()))
    courier = await stage.courier(a)
    stage.start(tend(stage, courier).run())
    new = NewNotification("sms", "+4915112345678", ("a",), "a", "receipt", 1)
    (nid,) = await stage.accept(1, notifications=(new,), data={"name": "Ada"})
    await until(lambda: stage.state(nid) in ("settled", "dead"), 10.0)
    assert (stage.state(nid), [message.text for message in a.sent]) == ("settled", ["Hi Ada"])
    assert stage.counted("dispatcher_refusals", "a", "our_bug") == 1


def always_raises(error: Exception) -> Callable[..., Any]:
    def call(*args: Any, **more: Any) -> Any:
        raise error

    return call


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("bug")], ids=["memory", "bug"])
@pytest.mark.parametrize(
    ("of", "name"),
    [(Gate, "record"), (Delivery, "_count_attempt"), (Metrics, "observe")],
    ids=["breaker", "attempt", "metrics"],
)
@pytest.mark.parametrize("policy", ["resend", "hold"])
@virtual
async def test_what_only_watches_undoes_no_yes(
    monkeypatch: pytest.MonkeyPatch, of: type, name: str, error: Exception, policy: str
) -> None:
    """If the breaker, the count of attempts or a metric raises after an accepted call, the message is still
    settled and not sent again.
    """
    stage, a = Stage(), ScriptedVendor("a")
    courier = await stage.courier(a)
    courier.adopt_plan(plan_of(a="closed"))
    monkeypatch.setattr(of, name, always_raises(error))
    stage.start(tend(stage, courier).run())
    (nid,) = await stage.accept(on_unknown=policy)
    await asyncio.sleep(15.0)
    assert (len(a.sent), stage.state(nid)) == (1, "settled")


@pytest.mark.parametrize("broken", ["decision", "adapter", "no memory to say so", "adapter and no memory"])
@pytest.mark.parametrize(("policy", "sent", "state"), [("resend", 3, "dead"), ("hold", 1, "held")])
@virtual
async def test_a_lasting_bug_after_the_call_has_its_attempts_and_no_more(
    monkeypatch: pytest.MonkeyPatch, broken: str, policy: str, sent: int, state: str
) -> None:
    """A bug of ours follows each call. Under `resend` a message is sent once for each allowed attempt, and then is a
    dead letter.

    Under `hold` the message is sent once and held.
    """
    stage, a = Stage(), ScriptedVendor("a")
    if broken.startswith("adapter"):

        async def none(message: Any, timeout_s: float) -> None:
            a.sent.append(message)

        monkeypatch.setattr(a, "send", none)
    else:
        monkeypatch.setattr(delivery, "decide_after", always_raises(RuntimeError("bug")))
    if "no memory" in broken:
        monkeypatch.setattr(delivery, "logger", always_raises(MemoryError()))
    courier = await stage.courier(a, retry=RetryPolicy(attempts_max=3))
    courier.adopt_plan(plan_of(a="closed"))
    stage.start(tend(stage, courier).run())
    (nid,) = await stage.accept(chain=("a",), on_unknown=policy)
    await asyncio.sleep(120.0)
    assert (len(a.sent), stage.state(nid)) == (sent, state)


@virtual
async def test_a_timeout_that_an_adapter_raises_is_its_bug() -> None:
    """An adapter raises a TimeoutError before the deadline of the call. This is a bug of the adapter and no failure of
    the vendor.

    So the breaker counts no failure, and the message is sent again.
    """
    stage, a = Stage(), ScriptedVendor("a", [TimeoutError()])
    courier = await stage.courier(a)
    courier.adopt_plan(plan_of(a="closed"))
    stage.start(tend(stage, courier).run())
    await stage.accept(chain=("a",))
    await until(lambda: stage.states() == ["settled"], 30.0)
    assert len(a.sent) == 2
    assert courier.breaker.metrics(int(stage.clock.now_s() * 1e9)).failed == 0


@virtual
async def test_an_adapter_that_outlasts_its_deadline_is_ended() -> None:
    """A call is cancelled two seconds after its timeout.

    The call's outcome is unknown, its permit is free again, and the breaker counts a failure.
    """
    stage, a = Stage(), ScriptedVendor("a", duration_s=500.0)
    courier = await stage.courier(a, limits=CourierLimits(concurrency_max=1), terms=Terms(RetryPolicy(), timeout_s=5.0))
    courier.adopt_plan(plan_of(a="closed", b="closed"))
    (nid,) = await stage.accept()
    await asyncio.sleep(6.9)
    assert courier.in_flight == 1
    await asyncio.sleep(0.3)
    assert courier.in_flight == 0
    assert courier.breaker.metrics(int(stage.clock.now_s() * 1e9)).failed == 1
    assert (stage.counted("dispatcher_moves", "a", "b"), stage.history(nid)) == (1, [("a", "unknown")])


@pytest.mark.parametrize("why", ["no memory to render", "store away"])
@virtual
async def test_what_is_put_off_costs_no_permit_of_the_contract(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """Messages that are put off before their call use up none of the contract's rate: the token bucket is full
    again afterwards.
    """
    stage, a = Stage(), ScriptedVendor("a")
    error: Exception = MemoryError() if why == "no memory to render" else UnavailableError("away")
    monkeypatch.setattr(Delivery, "render", always_raises(error))
    courier = await stage.courier(a, limits=CourierLimits(rate_per_s=10.0))
    courier.adopt_plan(plan_of(a="closed"))
    courier.gate.bucket.set_rate(10.0, stage.clock.now_s())
    await asyncio.sleep(5.0)
    full = courier.gate.bucket.available(stage.clock.now_s())
    await stage.accept(full)
    await until(lambda: not len(courier.outbox) and stage.states().count("due") == full, 5.0)
    assert courier.gate.bucket.available(stage.clock.now_s()) == full


@virtual
async def test_no_memory_to_note_a_suspect_s_turn_stops_no_other_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two notifications are suspected of killing an actor. Each is sent alone, while the store has a mark that names
    it.

    Memory runs out, so that a metric fails each time. All messages are sent all the same, and no mark is left.
    """
    stage, a = Stage(), ScriptedVendor("a")
    courier = await stage.courier(a, run=False)
    courier.adopt_plan(plan_of(a="closed"))
    ids = await stage.accept(3)
    suspected(stage, ids[:2])
    monkeypatch.setattr(Metrics, "observe", always_raises(MemoryError()))
    stage.start(courier.run())
    stage.start(courier.outbox.run())
    await asyncio.sleep(2.0)
    assert (sorted(a.ids), stage.states()) == (sorted(ids), ["settled"] * 3)
    assert stage.cell.singled == {}, "the next crash would be blamed on it"


@pytest.mark.parametrize(
    ("html", "sent"), [("", None), (" \n\u200b", None), ("{% if vip %}<b>VIP</b>{% endif %}", None)]
)
@virtual
async def test_an_html_part_that_shows_nothing_is_left_out(html: str, sent: str | None) -> None:
    """An HTML part without visible text is left out, because a mail program would show the blank part instead of
    the text.
    """
    stage, mail = Stage(), ScriptedVendor("mail")
    await stage.template_store.put(TemplateSource("receipt", "Hi", subject="Receipt", html=html))
    courier = await stage.courier(mail)
    stage.start(tend(stage, courier).run())
    new = NewNotification("email", "ada@example.com", ("mail",), "mail", "receipt", 1)
    (nid,) = await stage.accept(1, notifications=(new,), data={"vip": False})
    await until(lambda: stage.state(nid) in ("settled", "dead"), 10.0)
    assert [(message.text, message.html) for message in mail.sent] == [("Hi", sent)]
