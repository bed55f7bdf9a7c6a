"""Checks the segments of an SMS at accept: their count is stored, and events and vendors may limit it."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.core.life.sms_text import SmsSize
from dispatcher.errors import CallerError
from dispatcher.templates.source import TemplateSource
from tests.unit.desk import Desk
from tests.virtual import virtual

SMS = [{"channel": "sms", "template": "greet"}]
VENDORS = {
    "a": {"adapter": "twilio", "channel": "sms", "segments_max": 1},
    "b": {"adapter": "vonage", "channel": "sms", "segments_max": 3},
    "mail": {"adapter": "smtp", "channel": "email"},
}


async def desk_with_template(**settings: Any) -> Desk:
    desk = Desk(**settings)
    await desk.intake._templates.put(TemplateSource("greet", "{{ name }}"))
    return desk


@virtual
async def test_the_size_of_the_rendered_text_is_kept() -> None:
    """The stored notification has the count of segments of its rendered text. An e-mail has no such count."""
    desk = await desk_with_template()
    mail = {"channel": "email", "content": {"subject": "S", "text": "T"}}
    both = {"phone": "+4915112345000", "email": "ada@example.com"}
    accepted = await desk.post(notifications=[*SMS, mail], data={"name": "я" * 71}, recipient=both)
    view = await desk.stage.views.trigger(accepted.id)
    assert [n.sms for n in view.notifications] == [SmsSize("ucs2", 2), None]


@virtual
async def test_a_vendor_with_a_lower_limit_is_left_out() -> None:
    """A vendor whose `segments_max` is too low for a message is left out of its chain, and the message goes to the
    next vendor.
    """
    desk = await desk_with_template(vendors=VENDORS)
    short = await desk.post(0, notifications=SMS, data={"name": "a" * 160})
    long = await desk.post(1, notifications=SMS, data={"name": "a" * 161})
    chains = [desk.stage.cell.records[one.id].trigger.notifications[0].chain for one in (short, long)]
    assert chains == [("a", "b"), ("b",)]
    assert [one.notifications[0][2] for one in (short, long)] == ["a", "b"]


@virtual
@pytest.mark.parametrize(
    ("event", "changes", "field", "says"),
    [
        ("any", {}, "data", "it needs 4 .gsm.. The limit is vendors.b.segments_max"),
        ("short", {}, "data", "must fit in 2 segments .* The limit is events.short.segments_max"),
        (
            "short",
            {"notifications": [{"channel": "sms", "content": {"text": "a" * 460}}]},
            "notifications.0.content.text",
            "The limit is events.short.segments_max",
        ),
    ],
    ids=["of all vendors", "of the event", "of the event, with content"],
)
async def test_a_text_beyond_the_limit_is_refused(event: str, changes: dict[str, Any], field: str, says: str) -> None:
    """A text has more segments than the event or every vendor allows. It is refused, and nothing is stored.

    The refusal names the limit.
    """
    events = {"short": {"notifications": [{"channel": "sms", "template": "greet"}], "segments_max": 2}}
    desk = await desk_with_template(vendors=VENDORS, events=events, templates={"greet": {"text": "Hi"}})
    with pytest.raises(CallerError, match=says) as caught:
        await desk.post(event=event, **{"notifications": SMS, "data": {"name": "a" * 460}, **changes})
    assert (caught.value.field, caught.value.status, desk.stage.states()) == (field, 422, [])


@virtual
async def test_a_rendered_text_that_shows_another_is_refused() -> None:
    """A control character that changes the direction of writing is refused, also if the character comes with the
    data and not with the template.
    """
    desk = await desk_with_template()
    with pytest.raises(CallerError, match="must not contain control characters") as caught:
        await desk.post(notifications=SMS, data={"name": "a\u202eb"})
    assert caught.value.field == "data"
