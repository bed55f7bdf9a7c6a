"""One claim to its decision, where something of ours breaks amid it: no memory, a bug."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import jinja2
import pytest

from dispatcher import delivery
from dispatcher.core.notification import NewNotification
from dispatcher.delivery import Delivery
from dispatcher.gate import Gate
from dispatcher.templates import compile as compiling
from dispatcher.templates.source import TemplateSource
from tests.unit.stage import ScriptedVendor, Stage, plan_of
from tests.unit.test_courier import tend
from tests.virtual import until, virtual


def first_raises(inner: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """`inner`, but the first call raises."""
    errors = [error]

    def call(*args: Any, **more: Any) -> Any:
        if errors:
            raise errors.pop()
        return inner(*args, **more)

    return call


@pytest.mark.parametrize(
    ("of", "name"), [(jinja2.Template, "generate"), (compiling.Restrict, "visit")], ids=["rendering", "compiling"]
)
@virtual
async def test_without_memory_to_render_it_waits(monkeypatch: pytest.MonkeyPatch, of: type, name: str) -> None:
    """That says nothing of the message: it is sent a second or two later, and is no dead letter of its template."""
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


@pytest.mark.parametrize(("of", "name"), [(Gate, "record"), (Delivery, "_count_attempt")], ids=["breaker", "metrics"])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("bug")], ids=["memory", "bug"])
@pytest.mark.parametrize(("policy", "sent", "state"), [("resend", 2, "settled"), ("hold", 1, "held")])
@virtual
async def test_what_breaks_after_the_call_repeats_only_what_may_be_repeated(
    monkeypatch: pytest.MonkeyPatch, of: type, name: str, error: Exception, policy: str, sent: int, state: str
) -> None:
    """The vendor may have it. Under `hold` its start mark says so: held, and never sent again."""
    monkeypatch.setattr(of, name, first_raises(getattr(of, name), error))
    stage, a = Stage(), ScriptedVendor("a")
    courier = await stage.courier(a)
    courier.adopt_plan(plan_of(a="closed"))
    stage.start(tend(stage, courier).run())
    (nid,) = await stage.accept(on_unknown=policy)
    await until(lambda: stage.state(nid) == state, 10.0)
    await asyncio.sleep(5.0)
    assert (len(a.sent), stage.state(nid)) == (sent, state)
    assert stage.counted("dispatcher_refusals", "a", "our_bug") == 1


@virtual
async def test_without_memory_to_say_so_it_is_held_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the log nor the count of it finds any, right after the call."""
    monkeypatch.setattr(Delivery, "_count_attempt", first_raises(Delivery._count_attempt, MemoryError()))
    monkeypatch.setattr(delivery, "logger", first_raises(delivery.logger, MemoryError()))
    stage, a = Stage(), ScriptedVendor("a")
    courier = await stage.courier(a)
    courier.adopt_plan(plan_of(a="closed"))
    stage.start(tend(stage, courier).run())
    (nid,) = await stage.accept(on_unknown="hold")
    await until(lambda: stage.state(nid) == "held", 10.0)
    await asyncio.sleep(5.0)
    assert (len(a.sent), stage.state(nid)) == (1, "held")
