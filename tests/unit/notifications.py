"""Makes one notification for the unit tests. A test may change any field."""

from __future__ import annotations

from typing import Any

from dispatcher.core.life.notification import Notification, Trail

NOW_MS = 1_700_000_000_000
CHAIN = ("a", "b", "c")


def notification(tried: tuple[str, ...] = (), **changes: Any) -> Notification:
    fields: dict[str, Any] = {
        "id": "0-x.0",
        "tenant": "shop",
        "event": "e",
        "channel": "sms",
        "to": "+4915112345678",
        "chain": CHAIN,
        "priority": "normal",
        "accepted_ms": NOW_MS,
        "expires_ms": NOW_MS + 86_400_000,
        "on_unknown": "resend",
        "data": {},
        "trail": Trail(tried),
    }
    return Notification(**{**fields, **changes})
