"""Checks fallbacks that a request or an event asks for: a right one is stored with the first notification, a wrong
one is refused.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from dispatcher.accept.intake import Headroom
from dispatcher.core.life.notification import Follows, Lane
from dispatcher.errors import CallerError
from dispatcher.templates.source import TemplateSource
from tests.unit.desk import Desk, body
from tests.virtual import virtual

ADA = {"phone": "+4915112345000", "email": "ada@example.com"}
MAIL = {"channel": "email", "content": {"subject": "S", "text": "T"}}
RECEIPTS = {"public_url": "https://shop.example", "secret": "s"}


def wanted(fallback: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    sms = {"channel": "sms", "content": {"text": "Hi"}, "fallback": {**MAIL, **(fallback or {})}}
    return body(recipient=ADA, notifications=[sms], **changes)


@virtual
async def test_it_is_stored_with_the_first_and_stands_by() -> None:
    """A fallback is stored beside its first notification in the state `standby`.

    The answer names both notifications, and says which of them is the fallback of the other. A repeated post gets the
    same answer.
    """
    desk = Desk()
    for replayed in (False, True):
        accepted = await desk.intake.accept("shop", wanted({"after_s": 60}, expires_in_s=300), "k")
        assert accepted.replayed is replayed
        assert [channel for _, channel, _ in accepted.notifications] == ["sms", "email"]
        assert accepted.fallbacks == {f"{accepted.id}.1": f"{accepted.id}.0"}
    assert desk.stage.states() == ["queued", "standby"]
    trigger = desk.stage.cell.records[accepted.id].trigger
    assert trigger.notifications[1].follows == Follows(0, "accepted", trigger.accepted_ms + 60_000, 300_000)
    counted = [desk.stage.counted("dispatcher_accepted_notifications", channel) for channel in ("sms", "email")]
    assert counted == [2, 0]  # one of the two answers was replayed


@virtual
async def test_without_a_time_it_is_looked_at_when_the_first_must_have_ended() -> None:
    """A fallback without `after_s` is looked at one second after the first notification expires.

    The fallback's time to live counts from when the fallback begins.
    """
    desk = Desk()
    accepted = await desk.intake.accept("shop", wanted(expires_in_s=300))
    trigger = desk.stage.cell.records[accepted.id].trigger
    assert trigger.notifications[1].follows == Follows(0, "accepted", None, 300_000)
    assert desk.stage.cell.delayed == {f"{accepted.id}.1": trigger.expires_ms + 1000}


@virtual
async def test_its_time_counts_from_the_time_of_the_first() -> None:
    """A trigger has a `send_at` and a fallback. The `after_s` of the fallback counts from `send_at` and not from the
    accept.
    """
    desk = Desk()
    at_ms = desk.stage.clock.wall_ms() + 3_600_000
    at = datetime.fromtimestamp(at_ms / 1000, timezone.utc).isoformat()
    accepted = await desk.intake.accept("shop", wanted({"after_s": 60}, send_at=at))
    assert desk.stage.states() == ["delayed", "standby"]
    looked_at_ms = desk.stage.cell.delayed[f"{accepted.id}.1"]
    assert looked_at_ms == pytest.approx(at_ms + 60_000, abs=2)


@virtual
async def test_an_event_may_have_one() -> None:
    """An event's definition lists a fallback for its SMS. Each notification of the event, for one or several
    recipients, gets this fallback.

    The fallback's template is rendered at accept too, so data that does not fit it is refused.
    """
    fallback = {"channel": "email", "template": "mail", "after_s": 30}
    event = {"notifications": [{"channel": "sms", "template": "text", "fallback": fallback}]}
    templates = {"text": {"text": "Hi"}, "mail": {"subject": "S", "text": "Hi {{ name }}"}}
    desk = Desk(events={"code": event}, templates=templates)
    await desk.intake._templates.put(TemplateSource("text", "Hi"))
    await desk.intake._templates.put(TemplateSource("mail", "Hi {{ name }}", "S"))
    request = {"event": "code", "recipient": ADA}
    with pytest.raises(CallerError, match="name"):
        await desk.intake.accept("shop", request)
    await desk.intake.accept("shop", {**request, "data": {"name": "Ada"}})
    assert desk.stage.states() == ["queued", "standby"]
    people = [ADA, {"phone": "+4915112345001", "email": "bob@example.com"}]
    several = {"event": "code", "recipients": people, "data": {"name": "A"}}
    accepted = await desk.intake.accept("shop", several)
    nid = accepted.id
    assert accepted.fallbacks == {f"{nid}.1": f"{nid}.0", f"{nid}.3": f"{nid}.2"}


BAD: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({"channel": "sms"}, {}, "notifications.0.fallback.channel", "must be another channel than sms"),
    ({"after_s": 0}, {}, "notifications.0.fallback.after_s", "must be at least 1"),
    ({"wait_for": "read"}, {}, "notifications.0.fallback.wait_for", "must be 'accepted' or 'delivered'"),
    ({"wait_for": "delivered"}, {}, "notifications.0.fallback.after_s", "is required if wait_for is delivered"),
    ({"content": None}, {}, "notifications.0.fallback", "must have either template or content"),
    ({"content": {"text": "T"}}, {}, "notifications.0.fallback.content.subject", "is required for an e-mail"),
    (
        {"template": "gone", "content": None},
        {},
        "notifications.0.fallback.template",
        "must be a stored template, which gone is not",
    ),
    ({"fallback": {}}, {}, "notifications.0.fallback.fallback", "is not a known field"),
    ({}, {"recipient": {"phone": "+4915112345000"}}, "recipient.email", "is required"),
    (
        {"wait_for": "delivered", "after_s": 9},
        {},
        "notifications.0.fallback.wait_for",
        "must not be delivered, because receipts are not configured",
    ),
]


@virtual
@pytest.mark.parametrize(("fallback", "changes", "field", "rule"), BAD, ids=[f"{f}: {r}" for _, _, f, r in BAD])
async def test_a_wrong_one_is_refused(fallback: dict[str, Any], changes: dict[str, Any], field: str, rule: str) -> None:
    """For a wrong fallback the answer names its field, and nothing is stored, not even the first notification."""
    desk = Desk()
    with pytest.raises(CallerError) as caught:
        await desk.intake.accept("shop", {**wanted(fallback), **changes})
    assert (caught.value.field, caught.value.status, desk.stage.states()) == (field, 422, [])
    assert caught.value.rule.startswith(rule)


@virtual
async def test_a_delivery_that_no_vendor_tells_is_not_waited_for() -> None:
    """A fallback that waits for delivery is refused if the first notification's vendor sends no receipts.

    Without receipts every message would fall back.
    """
    desk = Desk(receipts=RECEIPTS)
    sms = {"channel": "sms", "content": {"text": "T"}, "wait_for": "delivered", "after_s": 9}
    mail_first = body(recipient=ADA, notifications=[{**MAIL, "fallback": sms}])
    with pytest.raises(CallerError, match="the vendor mail sends no receipts"):
        await desk.intake.accept("shop", mail_first)
    await desk.intake.accept("shop", wanted({"wait_for": "delivered", "after_s": 9}))
    assert desk.stage.states() == ["queued", "standby"]


@virtual
async def test_a_full_mailbox_of_the_fallback_refuses_nobody() -> None:
    """A trigger is accepted while the mailbox of its fallback is full, because only the first notification needs
    room.
    """
    desk = Desk()
    desk.intake.headroom = Headroom(0.0, frozenset([Lane("mail", "normal")]))
    await desk.intake.accept("shop", wanted())
    assert desk.stage.states() == ["queued", "standby"]
