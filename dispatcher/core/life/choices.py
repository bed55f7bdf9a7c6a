"""The choices that a caller or a configuration makes about a notification, each written down once."""

from __future__ import annotations

from typing import Literal

Channel = Literal["sms", "email", "push", "webhook", "chat"]
Priority = Literal["high", "normal", "bulk"]
OnUnknown = Literal["resend", "hold"]
"""After an unknown outcome: `resend` sends again (at least once), `hold` keeps the notification back (at most once)."""

PRIORITIES: tuple[Priority, ...] = ("high", "normal", "bulk")
"""The lanes of a mailbox, the most urgent first."""
WaitFor = Literal["accepted", "delivered"]
