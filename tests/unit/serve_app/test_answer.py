"""Tests the body of the 202 with which an accepted trigger is answered."""

from __future__ import annotations

from dispatcher.accept.accepted import Accepted
from dispatcher.wire.trigger_responses import AcceptedResponse
from serve_app.asgi import _accepted


def test_only_a_suppressed_notification_has_a_state() -> None:
    """In a 202, only a suppressed notification has the field `state`."""
    parts = (("0-a.0", "sms", "sms-a"), ("0-a.1", "email", "email-a"))
    shown = _accepted(Accepted("0-a", parts, False, frozenset({"0-a.0"})))
    assert shown["notifications"] == [
        {"id": "0-a.0", "channel": "sms", "vendor": "sms-a", "state": "suppressed"},
        {"id": "0-a.1", "channel": "email", "vendor": "email-a"},
    ]
    assert AcceptedResponse(**shown).model_dump(exclude_none=True) == shown
