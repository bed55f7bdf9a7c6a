"""The views of a trigger and of its notifications, as the HTTP interface answers them."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.core.life.notification import Attempt
from dispatcher.core.life.sms_text import SmsSize


@dataclass(frozen=True, slots=True)
class NotificationView:
    """The answer of `GET /v1/triggers/{id}` about one notification. No field contains the recipient's address."""

    id: str
    channel: str
    vendor: str
    state: str
    reason: str | None
    attempts: tuple[Attempt, ...]
    generation: int = 0
    template: str | None = None
    template_version: int | None = None
    until_ms: int | None = None
    """When the notification is tried again, first sent (`delayed`) or given up (`held`), in wall milliseconds.

    None means as soon as possible.
    """
    sms: SmsSize | None = None
    recipient: int | None = None
    """The index of the recipient among the trigger's recipients. None if the trigger has a single recipient."""
    recipient_id: str | None = None
    """The caller's name for the recipient. None after the trigger's personal data has been removed."""
    fallback_for: str | None = None
    """The id of the notification that this one is the fallback of. None if this is no fallback."""


@dataclass(frozen=True, slots=True)
class TriggerView:
    """The answer of `GET /v1/triggers/{id}`. Times are wall milliseconds."""

    id: str
    tenant: str
    event: str
    accepted_ms: int
    expires_ms: int
    body_hash: str
    notifications: tuple[NotificationView, ...]
    idempotency_key: str | None = None
    recipient_id: str | None = None
    """The caller's name for the recipient. None after the trigger's personal data has been removed."""
