"""Checks several recipients in one trigger: each gets a notification, and either all notifications are stored or
none.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dispatcher.core.life.notification import Person
from dispatcher.errors import CallerError
from dispatcher.templates.source import TemplateSource
from tests.unit.desk import Desk, body
from tests.virtual import virtual


def people(count: int, **each: Any) -> list[dict[str, Any]]:
    return [{"id": f"c-{n}", "phone": f"+49151123{n:05}", "email": f"c{n}@example.com", **each} for n in range(count)]


def several(count: int = 3, **changes: Any) -> dict[str, Any]:
    return {**body(), "recipients": people(count), "recipient": None, **changes}


@virtual
async def test_each_gets_a_notification_of_its_own() -> None:
    """A trigger for a hundred recipients is stored in one round trip.

    Each recipient's notification has its own id, address and state.
    """
    desk = Desk()
    accepted = await desk.intake.accept("shop", several(100), "k")
    assert [nid for nid, _, _ in accepted.notifications] == [f"{accepted.id}.{n}" for n in range(100)]
    assert desk.stage.states() == ["queued"] * 100
    assert desk.store.trips == [1]
    view = await desk.stage.views.trigger(accepted.id)
    assert [(n.recipient, n.recipient_id) for n in view.notifications[:2]] == [(0, "c-0"), (1, "c-1")]
    trigger = desk.stage.cell.records[accepted.id].trigger
    assert [n.to for n in trigger.notifications] == [who["phone"] for who in people(100)]
    assert desk.stage.counted("dispatcher_accepted_notifications", "sms") == 100


@virtual
async def test_all_channels_of_one_follow_each_other() -> None:
    """The notifications of several recipients are ordered by recipient, and for one recipient as the request lists
    them.
    """
    desk = Desk()
    mail = {"channel": "email", "content": {"subject": "S", "text": "T"}}
    accepted = await desk.intake.accept("shop", several(2, notifications=[*body()["notifications"], mail]))
    assert [channel for _, channel, _ in accepted.notifications] == ["sms", "email"] * 2
    view = await desk.stage.views.trigger(accepted.id)
    assert [n.recipient for n in view.notifications] == [0, 0, 1, 1]


@virtual
async def test_one_key_stands_for_all() -> None:
    """A repeated key with the same recipients gets the first answer.

    The same key with another list of recipients is a conflict.
    """
    desk = Desk()
    first = await desk.intake.accept("shop", several(), "k")
    again = await desk.intake.accept("shop", several(), "k")
    assert (again.notifications, again.replayed) == (first.notifications, True)
    with pytest.raises(CallerError, match="used with another body"):
        await desk.intake.accept("shop", several(4), "k")
    assert len(desk.stage.states()) == 3


BAD = [
    ({"recipients": [*people(3), {"phone": "123"}]}, "recipients[3].phone", "must be a valid phone number"),
    ({"recipients": [*people(3), {"id": "x"}]}, "recipients[3].phone", "is required"),
    ({"recipients": [*people(3), {"fone": "x"}]}, "recipients[3].fone", "is not a known field"),
    ({"recipients": [*people(3), 7]}, "recipients[3]", "must be a JSON object"),
    ({"recipients": [*people(3), people(2)[1]]}, "recipients[3].phone", "must differ from that of recipients[1]"),
    (
        {"recipients": [*people(1), {"phone": "+4915112399999", "time_zone": "Mars/Olympus"}]},
        "recipients[1].time_zone",
        "must be the name of a time zone",
    ),
    ({"recipients": []}, "recipients", "must have at least 1"),
    ({"recipients": people(101)}, "recipients", "must have at most 100"),
    ({"recipients": people(1), "recipient": people(1)[0]}, "recipients", "must not be given together with recipient"),
    ({"recipients": None}, "recipient", "must be a JSON object"),
]


@virtual
@pytest.mark.parametrize(("changes", "field", "rule"), BAD, ids=[f"{field}: {rule}" for _, field, rule in BAD])
async def test_one_bad_recipient_refuses_all(changes: dict[str, Any], field: str, rule: str) -> None:
    """If one recipient is wrong, the answer names its place in the list, and nothing is stored for anyone."""
    desk = Desk()
    with pytest.raises(CallerError) as caught:
        await desk.intake.accept("shop", several(**changes))
    assert (caught.value.field, caught.value.status) == (field, 422)
    assert caught.value.rule.startswith(rule)
    assert desk.stage.states() == []


@virtual
async def test_a_country_that_is_not_allowed_names_whose_it_is() -> None:
    """A trigger has several recipients, and the country of one of them is not allowed or has no route.

    The error names the place of that recipient in the list.
    """
    desk = Desk(limits={"sms_countries": ["DE"]})
    with pytest.raises(CallerError) as caught:
        await desk.intake.accept("shop", several(recipients=[*people(2), {"phone": "+33612345678"}]))
    assert caught.value.field == "recipients[2].phone"
    abroad = Desk(routes=[{"channel": "sms", "chain": ["a"], "match": {"country": ["DE"]}}])
    with pytest.raises(CallerError, match="no route carries sms") as caught:
        await abroad.intake.accept("shop", several(recipients=[*people(2), {"phone": "+33612345678"}]))
    assert caught.value.field == "recipients[2]"


@virtual
async def test_an_address_that_no_channel_uses_may_be_shared() -> None:
    """Two recipients may share an e-mail address if the trigger sends no e-mail.

    Otherwise they are refused, also if their addresses differ only in case.
    """
    desk = Desk()
    shared = [{**who, "email": "family@example.com"} for who in people(2)]
    await desk.intake.accept("shop", several(recipients=shared))
    mail = [{"channel": "email", "content": {"subject": "S", "text": "T"}}]
    upper = [people(1)[0], {"email": "C0@example.com"}]
    with pytest.raises(CallerError) as caught:
        await desk.intake.accept("shop", several(recipients=upper, notifications=mail))
    assert caught.value.field == "recipients[1].email"


@virtual
async def test_more_notifications_than_one_script_may_store_are_refused() -> None:
    """A trigger with 600 notifications, six for each of a hundred recipients, is refused. At most 500 are allowed."""
    six = [{"channel": "sms", "content": {"text": str(n)}} for n in range(6)]
    with pytest.raises(CallerError, match="at most 500 notifications") as caught:
        await Desk().intake.accept("shop", several(100, notifications=six))
    assert caught.value.field == "recipients"


@virtual
async def test_each_has_its_own_language_and_night() -> None:
    """Each recipient's text uses the recipient's locale, and quiet hours use the recipient's time zone.

    Of two recipients half a day apart, exactly one has to wait.
    """
    quiet = {"begin": "00:00", "end": "12:00", "time_zone": "UTC"}
    event = {"notifications": [{"channel": "sms", "template": "t"}], "quiet_hours": quiet, "expires_in_s": 60}
    desk = Desk(events={"e": event}, templates={"t": {"text": "Hi"}})
    await desk.intake._templates.put(TemplateSource("t", "Hi {{ locale }}"))
    zones = [("de-DE", "Etc/GMT+6"), ("fr-FR", "Etc/GMT-6")]  # half a day apart: exactly one is in its quiet half
    who = [{**one, "locale": locale, "time_zone": zone} for one, (locale, zone) in zip(people(2), zones, strict=True)]
    request = several(event="e", notifications=None, recipients=who)
    prepared = await desk.intake.dry_run("shop", {**request, "dry_run": True})
    assert [text.text for text in prepared.texts] == ["Hi de-DE", "Hi fr-FR"]
    trigger = prepared.trigger
    assert trigger.people == (Person("c-0", "de-DE"), Person("c-1", "fr-FR"))
    waits = [n.send_at_ms is not None for n in trigger.notifications]
    assert sorted(waits) == [False, True]
    at_ms = [n.send_at_ms or trigger.accepted_ms for n in trigger.notifications]
    assert [n.expires_ms for n in trigger.notifications] == [at + 60_000 for at in at_ms]
    accepted = await desk.intake.accept("shop", request)
    view = await desk.stage.views.trigger(accepted.id)
    assert [n.state for n in view.notifications] == ["delayed" if wait else "queued" for wait in waits]


@virtual
async def test_the_caps_are_of_each_recipient() -> None:
    """A recipient who has reached the cap gets nothing more, and the other recipient of the same trigger gets the
    message.
    """
    desk = Desk(limits={"recipient_caps": [{"channel": "sms", "max": 1, "per_s": 60}]})
    await desk.intake.accept("shop", several(1))
    accepted = await desk.intake.accept("shop", several(2))
    assert accepted.suppressed == {f"{accepted.id}.0"}


@virtual
async def test_large_triggers_do_not_share_a_round_trip_with_many() -> None:
    """One round trip carries at most 500 notifications, so that small triggers do not wait for many large ones."""
    desk = Desk()
    posts = [asyncio.ensure_future(desk.intake.accept("shop", several(100))) for _ in range(12)]
    small = [desk.post(n) for n in range(20)]
    await asyncio.gather(*posts, *small)
    assert sum(desk.store.trips) == 32
    assert len(desk.store.trips) >= 3
    assert max(desk.store.sizes) <= 500
