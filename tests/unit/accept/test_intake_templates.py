"""A trigger whose data or template cannot make a message is refused at accept."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.errors import CallerError, UnavailableError
from dispatcher.templates.source import TemplateSource
from tests.unit.desk import Desk
from tests.virtual import virtual


@pytest.mark.parametrize(
    ("data", "says"),
    [({}, "missing variable name"), ({"name": None}, "name: a null"), ({"name": ["a"]}, "name: a list")],
)
@virtual
async def test_data_that_does_not_fit_its_template_is_refused(data: dict[str, Any], says: str) -> None:
    """If the data does not fit the template, the answer names the variable with 422, and nothing is stored.

    Otherwise the notification would become a dead letter.
    """
    desk = Desk()
    await desk.intake._templates.put(TemplateSource("paid", "Hi {{ name }}"))
    wanted = [{"channel": "sms", "template": "paid"}]
    with pytest.raises(CallerError, match=says) as caught:
        await desk.post(notifications=wanted, data=data)
    assert (caught.value.status, caught.value.field, desk.stage.states()) == (422, "data", [])
    await desk.post(notifications=wanted, data={"name": "Ada"})
    assert desk.stage.states() == ["queued"]


@virtual
async def test_a_template_that_the_store_has_lost_is_no_final_no() -> None:
    """If the store lost a template that the configuration file has, the answer is 503, so that the caller tries again.

    A template that the file does not have is refused with 422.
    """
    desk = Desk()
    desk.intake._templates.promised = {"paid"}
    with pytest.raises(UnavailableError, match="the template paid is being stored"):
        await desk.post(notifications=[{"channel": "sms", "template": "paid"}])
    with pytest.raises(CallerError, match="must be a stored template, which gone is not"):
        await desk.post(notifications=[{"channel": "sms", "template": "gone"}])
    await desk.intake._templates.put(TemplateSource("paid", "Hi"))
    await desk.post(notifications=[{"channel": "sms", "template": "paid"}])
    assert desk.stage.states() == ["queued"]


@pytest.mark.parametrize(
    ("wanted", "field", "says"),
    [
        ({"channel": "sms", "template": "blank"}, "data", "template blank, text: must say something"),
        ({"channel": "email", "template": "blank"}, "data", "template blank, text: must say something"),
        ({"channel": "email", "template": "bare"}, "data", "template bare, subject: is required for an e-mail"),
        ({"channel": "email", "template": "mute"}, "data", "template mute, subject: must say something"),
        ({"channel": "sms", "content": {"text": " \u200b"}}, "notifications.0.content.text", "must say something"),
        (
            {"channel": "email", "content": {"subject": "\u00a0", "text": "Hi"}},
            "notifications.0.content.subject",
            "must say something",
        ),
    ],
)
@virtual
async def test_a_message_that_says_nothing_is_refused(wanted: dict[str, Any], field: str, says: str) -> None:
    """A text or subject without a visible character is refused when the trigger is accepted. The refusal names the
    field.

    Vendors refuse such messages (twilio-php 255, check-api 1487).
    """
    desk = Desk()
    for source in (
        TemplateSource("blank", "{% if name %}Hi {{ name }}{% endif %}", "S"),
        TemplateSource("bare", "Hi"),
        TemplateSource("mute", "Hi", "{{ name }}"),
    ):
        await desk.intake._templates.put(source)
    people = {"phone": "+4915112345678", "email": "ada@example.com"}
    with pytest.raises(CallerError, match=says) as caught:
        await desk.post(recipient=people, notifications=[wanted], data={"name": ""})
    assert (caught.value.field, desk.stage.states()) == (field, [])


@virtual
async def test_a_template_without_a_subject_is_good_for_an_sms() -> None:
    """An SMS with a template that has no subject is accepted, because only an e-mail needs a subject."""
    desk = Desk()
    await desk.intake._templates.put(TemplateSource("bare", "Hi"))
    await desk.post(notifications=[{"channel": "sms", "template": "bare"}], data={})
    assert desk.stage.states() == ["queued"]


@pytest.mark.parametrize("since", [None, "Bye"], ids=["not put back yet", "numbered again"])
@virtual
async def test_a_store_that_was_emptied_accepts_no_text_of_before(since: str | None) -> None:
    """The store was emptied, and a replica that has not noticed this posts a trigger with an old template version.

    The store may have no such version, or another text under the same number. In both cases the answer is 503, and
    nothing is stored.
    """
    desk = Desk()
    cache, wanted = desk.intake._templates, [{"channel": "sms", "template": "paid"}]
    await cache.put(TemplateSource("paid", "Hi"))
    await desk.post(0, notifications=wanted)
    desk.stage.template_store._kept.clear()
    if since is not None:
        await desk.stage.template_store.put(TemplateSource("paid", since))
    with pytest.raises(UnavailableError, match="has just changed in the store"):
        await desk.post(1, notifications=wanted)
    if since is None:
        with pytest.raises(UnavailableError, match="the template paid is being stored"):
            await desk.post(1, notifications=wanted)
        await cache.put(TemplateSource("paid", "Hi"))
    await desk.post(1, notifications=wanted)
    assert desk.stage.states() == ["queued", "queued"]
