"""The rendered message that a vendor adapter is asked to send."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.core.life.receipt import ReceiptLink


@dataclass(frozen=True, slots=True)
class Message:
    """One rendered message to one recipient on one channel.

    Attributes:
        notification_id: our id, for logs, and for headers by which a receipt finds its notification.
        idempotency_key: id + generation + vendor, for vendors that accept such a key. All attempts at one vendor have
            the same key.
        channel: `sms`, `email`, ...
        to: one E.164 number, or one bare address (`local@domain`), validated at accept.
        text: the plain text body.
        subject: the subject of an e-mail; None on other channels.
        html: the HTML part of an e-mail, already escaped; None if the template has none.
        receipt: where the vendor may report what became of the message; None if receipts are not configured.
        expires_in_s: for how many seconds from now delivery makes sense; None leaves it to the vendor.
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
