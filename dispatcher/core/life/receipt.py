"""Receipts: what a vendor tells later about a message that it took, or did not.

Rules:

1. Who knows the token of a notification may speak about it: it is an HMAC over vendor and notification id, went out
   with the message, and nobody can make one without the secret. So no provider's own signature scheme is needed, and a
   receipt that was overheard says nothing about any other notification.
2. A yes ends the notification wherever it waits: held, queued, or put off after an outcome that proved nothing.
3. A no ends only what is held: anything else is on its way to another attempt, which this no is not about.
4. A receipt never touches the breaker: it comes late, and the call it is about was counted.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple
from urllib.parse import urlencode

from dispatcher.core.life.notification import State


class ReceiptLink(NamedTuple):
    """Where a vendor may tell about one notification, and the proof that it was asked to."""

    url: str
    token: str


class Told(NamedTuple):
    """One receipt as read. `taken`: the vendor has delivered or carries it; None: nothing final yet."""

    notification_id: str
    token: str
    taken: bool | None


class ReceiptLinks:
    """Makes and checks links below `public_url`, which is this service as its vendors reach it."""

    def __init__(self, public_url: str, secret: str) -> None:
        self._base, self._secret = public_url.rstrip("/"), secret.encode()

    def link(self, vendor: str, notification_id: str) -> ReceiptLink:
        token = self._token(vendor, notification_id)
        query = urlencode({"n": notification_id, "t": token})
        return ReceiptLink(f"{self._base}/v1/receipts/{vendor}?{query}", token)

    def verified(self, vendor: str, told: Told) -> bool:
        """Return True if the token is the notification's own. Ours are ASCII, so nothing else can be."""
        if not (told.notification_id.isascii() and told.token.isascii()):
            return False
        return hmac.compare_digest(self._token(vendor, told.notification_id), told.token)

    def _token(self, vendor: str, notification_id: str) -> str:
        text = f"{vendor}|{notification_id}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:32]


def decide_receipt(taken: bool | None, state: State) -> tuple[str, str] | None:
    """The end of a notification in `state` and its reason; None: the receipt changes nothing."""
    if taken and state in (State.QUEUED, State.STARTED, State.DUE, State.HELD):
        return "settled", "receipt"
    if taken is False and state is State.HELD:
        return "dead", "undelivered"
    return None
