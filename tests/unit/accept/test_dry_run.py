"""A dry run answers what would become of a trigger. It stores nothing and uses up no limit."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.accept.intake import Headroom
from dispatcher.core.life.notification import Lane
from dispatcher.core.life.sms_text import SmsSize
from dispatcher.errors import CallerError, InvariantError
from dispatcher.templates.source import TemplateSource
from tests.unit.desk import Desk, body
from tests.unit.stage import plan_of
from tests.virtual import virtual

PAID = [{"channel": "sms", "template": "paid"}]


async def desk_with_template(**settings: Any) -> Desk:
    desk = Desk(**settings)
    await desk.intake._templates.put(TemplateSource("paid", "Hi {{ name }}, {{ total | money('EUR') }}"))
    return desk


def dry(**changes: Any) -> dict[str, Any]:
    return body(dry_run=True, notifications=PAID, data={"name": "Ada", "total": 5}, **changes)


@virtual
async def test_it_tells_route_time_and_text() -> None:
    """A dry run's answer has the chain, the mailbox by the current plan, the rendered text and its count of
    segments.
    """
    desk = await desk_with_template()
    desk.intake.plan = plan_of(a="open", b="closed")
    prepared = await desk.intake.dry_run("shop", dry(recipient={"phone": "+4915112345000", "locale": "de-DE"}))
    (note,), (text,) = prepared.trigger.notifications, prepared.texts
    assert (note.chain, note.vendor, note.template_version) == (("a", "b"), "b", 1)
    assert text.text.startswith("Hi Ada, 5,00")
    assert note.sms == SmsSize("gsm", 1)


@virtual
async def test_it_stores_and_uses_nothing() -> None:
    """Three dry runs store no record and use up no cap.

    Afterwards the idempotency key is free and the recipient cap has room.
    """
    cap = {"recipient_caps": [{"channel": "sms", "max": 1, "per_s": 60}]}
    desk = await desk_with_template(limits=cap)
    for _ in range(3):
        await desk.intake.dry_run("shop", dry(), "k")
    assert (desk.store.trips, desk.stage.cell.records, desk.stage.cell.caps) == ([], {}, {})
    assert desk.stage.counted("dispatcher_accepts", "dry_run") == 3
    accepted = await desk.post(key="k")
    assert (accepted.replayed, accepted.suppressed) == (False, frozenset())


@virtual
async def test_it_is_answered_while_a_mailbox_is_full() -> None:
    """A dry run is answered while the mailbox that its message would enter is full."""
    desk = await desk_with_template()
    desk.intake.headroom = Headroom(0.99, frozenset([Lane("a", "normal")]))
    assert (await desk.intake.dry_run("shop", dry())).texts


@virtual
async def test_quiet_hours_put_its_time_off() -> None:
    """A dry run is asked for in quiet hours. It answers that the message would be sent at the end of the quiet hours.

    The time to live counts from there.
    """
    quiet = {"begin": "00:00", "end": "23:59", "time_zone": "UTC"}
    event = {"notifications": [{"channel": "sms", "template": "paid"}], "quiet_hours": quiet, "expires_in_s": 60}
    desk = await desk_with_template(events={"e": event}, templates={"paid": {"text": "Hi"}})
    request = {"event": "e", "recipient": {"phone": "+4915112345000"}, "data": {"name": "A", "total": 1}}
    trigger = (await desk.intake.dry_run("shop", {**request, "dry_run": True})).trigger
    assert trigger.send_at_ms is not None
    assert trigger.send_at_ms > trigger.accepted_ms
    assert trigger.expires_ms == trigger.send_at_ms + 60_000


FAULTS = [
    {"recipient": {"phone": "123"}},
    {"recipient": {}},
    {"event": "?"},
    {"data": {"name": None}},
    {"send_at": "1999-01-01T00:00:00Z"},
    {"recipient": {"phone": "+4915112345000", "time_zone": "Mars/Olympus"}},
    {"notifications": [{"channel": "email", "content": {"subject": "S", "text": "T"}}]},
    {"notifications": [{"channel": "sms", "content": {"text": "a" * 2000}}]},
    {"unknown": 1},
]


@virtual
@pytest.mark.parametrize("fault", FAULTS, ids=[next(iter(fault)) for fault in FAULTS])
async def test_bad_input_is_answered_as_without_it(fault: dict[str, Any]) -> None:
    """A dry run refuses bad input with the same field, rule and status as an accept, and neither stores anything."""
    desk = await desk_with_template()
    said = []
    for ask, word in ((desk.intake.dry_run, True), (desk.intake.accept, False)):
        with pytest.raises(CallerError) as caught:
            await ask("shop", {**dry(), **fault, "dry_run": word})
        said.append(caught.value.args)
    assert said[0] == said[1]
    assert desk.stage.states() == []


@virtual
async def test_a_dry_run_is_never_accepted() -> None:
    """`accept` raises InvariantError for a body with `dry_run: true`."""
    desk = await desk_with_template()
    with pytest.raises(InvariantError):
        await desk.intake.accept("shop", dry())


@virtual
async def test_the_word_itself_is_judged() -> None:
    """A `dry_run` that is a text is refused, because only true and false are allowed."""
    with pytest.raises(CallerError, match="dry_run: must be true or false"):
        await Desk().intake.accept("shop", body(dry_run="yes"))


@virtual
async def test_it_is_no_part_of_what_the_body_means() -> None:
    """Under one idempotency key, a body with `dry_run: false` repeats a body without `dry_run`."""
    desk = await desk_with_template()
    first = await desk.post(key="k")
    again = await desk.post(key="k", dry_run=False)
    assert (again.id, again.replayed) == (first.id, True)
