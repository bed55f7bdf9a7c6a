"""One claim to its decision, where something of ours breaks amid it: no memory, a bug."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jinja2
import pytest

from dispatcher.core.notification import NewNotification
from dispatcher.templates import compile as compiling
from dispatcher.templates.source import TemplateSource
from tests.unit.stage import ScriptedVendor, Stage
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
