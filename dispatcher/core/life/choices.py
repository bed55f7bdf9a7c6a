"""The choices that a caller or a configuration makes about a notification.

Each list of choices is written only here.
"""

from __future__ import annotations

from typing import Literal

Channel = Literal["sms", "email", "push", "webhook", "chat"]
Priority = Literal["high", "normal", "bulk"]
OnUnknown = Literal["resend", "hold"]
"""The choice for unknown outcomes: `resend` sends again (at least once), `hold` sends nothing more (at most once)."""

PRIORITIES: tuple[Priority, ...] = ("high", "normal", "bulk")
"""The priorities, the most urgent first. Each mailbox has one lane for each."""
WaitFor = Literal["accepted", "delivered"]
