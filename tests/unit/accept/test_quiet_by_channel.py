"""Quiet hours of a channel replace the quiet hours of the event."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, TypeAlias

import pytest

from tests.unit.desk import Desk
from tests.virtual import virtual

BOTH = [{"channel": "sms", "content": {"text": "Hi"}}, {"channel": "email", "content": {"subject": "S", "text": "Hi"}}]
WHO = {"phone": "+4915112345000", "email": "a@example.com"}
HOUR_MS = 3_600_000


Hours: TypeAlias = "tuple[int, int] | None"
"""Quiet hours as two numbers: they begin and end so many hours from now. None means no quiet hours."""


def quiet(hours: Hours) -> dict[str, str] | None:
    if hours is None:
        return None
    now = datetime.fromtimestamp(Desk().stage.clock.wall_ms() / 1000, timezone.utc)
    return {name: f"{now + timedelta(hours=h):%H:%M}" for name, h in zip(("begin", "end"), hours, strict=True)}


async def waits_of(by_channel: dict[str, Hours], event_quiet: Hours, **changes: Any) -> dict[str, tuple[int, int]]:
    """Return for each channel how long its notification waits, and its time to live after the wait, both in ms."""
    event = {
        "notifications": [{"channel": "sms", "template": "t"}],
        "quiet_hours": quiet(event_quiet),
        "quiet_hours_by_channel": {channel: quiet(hours) for channel, hours in by_channel.items()},
        "expires_in_s": 60,
    }
    desk = Desk(events={"checkout.completed": event}, templates={"t": {"text": "Hi"}})
    request = {"event": "checkout.completed", "recipient": WHO, "notifications": BOTH, **changes}
    trigger = (await desk.intake.dry_run("shop", {**request, "dry_run": True})).trigger
    found = {}
    for n in trigger.notifications:
        at_ms = n.send_at_ms or trigger.send_at_ms or trigger.accepted_ms
        found[n.channel] = at_ms - trigger.accepted_ms, (n.expires_ms or trigger.expires_ms) - at_ms
    accepted = await desk.intake.accept("shop", request)
    view = await desk.stage.views.trigger(accepted.id)
    assert view is not None
    assert {n.channel: n.state for n in view.notifications} == {
        channel: "delayed" if wait_ms else "queued" for channel, (wait_ms, _) in found.items()
    }
    return found


@pytest.mark.parametrize(
    ("by_channel", "event_quiet", "sms_h", "email_h"),
    [
        pytest.param({}, (-1, 2), 2, 2, id="the event's for all"),
        pytest.param({"email": None}, (-1, 2), 2, 0, id="none for e-mail"),
        pytest.param({"sms": (-1, 3)}, (-1, 2), 3, 2, id="longer for SMS"),
        pytest.param({"sms": (-1, 3)}, None, 3, 0, id="only for SMS"),
        pytest.param({"sms": (1, 3)}, (-1, 2), 0, 2, id="over for SMS"),
    ],
)
@virtual
async def test_a_channel_has_its_own_night(
    by_channel: dict[str, Hours], event_quiet: Hours, sms_h: int, email_h: int
) -> None:
    """Two channels have quiet hours of their own. Each notification waits for the end of the quiet hours of its
    channel, and its time to live counts from there.
    """
    found = await waits_of(by_channel, event_quiet)
    for channel, hours in (("sms", sms_h), ("email", email_h)):
        wait_ms, life_ms = found[channel]
        assert wait_ms == pytest.approx(hours * HOUR_MS, abs=60_000)  # the hours have whole minutes
        assert life_ms == 60_000


@virtual
async def test_high_priority_is_never_quiet() -> None:
    """A notification with high priority is sent at once, even in its channel's quiet hours."""
    found = await waits_of({"sms": (-1, 3)}, None, priority="high")
    assert found["sms"][0] == found["email"][0] == 0
