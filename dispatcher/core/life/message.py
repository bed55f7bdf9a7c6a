"""The rendered message that a vendor adapter is asked to send."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.core.life.receipt import ReceiptLink


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one recipient on one channel, rendered.

    Attributes:
        notification_id: ours, for logs and for headers that let a receipt find its way back.
        idempotency_key: id + generation + vendor; stable over attempts, for vendors that have such a key.
        channel: `sms`, `email`, ...
        to: one E.164 number, or one bare address (`local@domain`), validated at accept.
        text: the plain text body.
        subject: e-mail only.
        html: e-mail only, already escaped; None when the template has no HTML part.
        receipt: where the vendor may tell what became of it; None: receipts are not configured.
        expires_in_s: how long it is worth delivering, from now on; None: for as long as the vendor likes.
    """

    notification_id: str
    idempotency_key: str
    channel: str
    to: str
    text: str
    subject: str | None = None
    html: str | None = None
    receipt: ReceiptLink | None = None
    expires_in_s: float | None = None
