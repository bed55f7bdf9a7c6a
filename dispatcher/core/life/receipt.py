"""Receipts: a vendor's later report about the delivery of a message.

Rules:

1. A receipt is believed if it carries the notification's token. The token is an HMAC over vendor and notification id,
   and the vendor got it together with the message. Nobody can make a token without the secret. So no provider's own
   signature is needed, and a token that leaks is of no use for any other notification.
2. "Delivered" ends the notification wherever it waits: held, queued, or due after an outcome that proved nothing. So
   does a word such as "sent", if it is about a call since the last redrive or reopening. A provider may repeat such a
   word after it has refused the message.
3. "Not delivered" ends only a held notification, and only if it is about the call since the last redrive or reopening.
   In any other state another attempt follows, and the receipt is not about that attempt.
4. If a fallback waits for delivery (`fallback`), "delivered" and "not delivered" are stored for it. A receipt that says
   only that the message was accepted or sent on is neither of the two.
5. A receipt may say that the vendor, its carrier or its filter refused the message. Then `core.life.late_refusal`
   decides first, whether another vendor tries and whether this is evidence against the vendor. No other receipt changes
   the breaker, because receipts come late, and the call was counted before.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlencode

from dispatcher.core.life.late_refusal import LateRefusal
from dispatcher.core.life.notification import CallMark, LaterWord, State

FIRST_CALL = CallMark()
CALL = re.compile(r"([0-9]{1,6})\.([0-9]{1,6})\.[0-9a-f]{16}")


class ReceiptLink(NamedTuple):
    """The link at which receipts about one notification arrive. Its token proves that this service made the link.

    `call` is the signed mark of the call (`CallMark`), for a provider that does not use the link.
    """

    url: str
    token: str
    call: str = ""

    @property
    def address(self) -> str:
        """The link without its query, for a provider that repeats the id, the token and the call in other ways."""
        return self.url.partition("?")[0]


@dataclass(frozen=True, slots=True)
class Told:
    """One parsed receipt.

    `carried` is True if the vendor has delivered the message or is sending it, and False if the vendor gave it up. None
    means that neither is known yet. `delivered` is True only if the message reached the recipient's device or mailbox.
    `refusal` tells why the vendor gave the message up, if the receipt has a code or a sentence about the reason. `call`
    is the signed mark of the call, as the vendor repeats it; '' if it does not. `message_id` is the vendor's id.
    """

    notification_id: str
    token: str
    carried: bool | None
    delivered: bool = field(default=False, compare=False)
    refusal: LateRefusal | None = field(default=None, compare=False)
    call: str = field(default="", compare=False)
    message_id: str = field(default="", compare=False)


class ReceiptLinks:
    """Makes and checks receipt links. A link begins with `public_url`, the address of this service for vendors."""

    def __init__(self, public_url: str, secret: str) -> None:
        self._base, self._secret = public_url.rstrip("/"), secret.encode()

    def link(self, vendor: str, notification_id: str, mark: CallMark = FIRST_CALL) -> ReceiptLink:
        """Return the link for a call. `mark` is by default that of a notification's first call."""
        token, call = self._token(vendor, notification_id), self._call(vendor, notification_id, mark)
        query = urlencode({"n": notification_id, "t": token, "c": call})
        return ReceiptLink(f"{self._base}/v1/receipts/{vendor}?{query}", token, call)

    def verified(self, vendor: str, told: Told) -> bool:
        """Return True if the receipt's token belongs to its notification. A token that is not ASCII is never valid."""
        if not (told.notification_id.isascii() and told.token.isascii()):
            return False
        return hmac.compare_digest(self._token(vendor, told.notification_id), told.token)

    def call_of(self, vendor: str, told: Told) -> CallMark | None:
        """Return the mark of the call that the receipt is about. Return None if it has none, or not one of ours."""
        found = CALL.fullmatch(told.call)
        if found is None:
            return None
        mark = CallMark(int(found[1]), int(found[2]))
        return mark if hmac.compare_digest(self._call(vendor, told.notification_id, mark), told.call) else None

    def _token(self, vendor: str, notification_id: str) -> str:
        return self._signed(f"{vendor}|{notification_id}")[:32]

    def _call(self, vendor: str, notification_id: str, mark: CallMark) -> str:
        text = f"{mark.generation}.{mark.reopened}"
        return f"{text}.{self._signed(f'{vendor}|{notification_id}|{text}')[:16]}"

    def _signed(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


def decide_receipt(carried: bool | None, state: State) -> tuple[str, str] | None:
    """Return the state in which a receipt ends a notification, and the reason. Return None if the receipt changes
    nothing.

    `carried` is True if the receipt says that the message was delivered, False if it was not, and None if it says
    neither. `state` is the present state of the notification.
    """
    if carried and state in (State.QUEUED, State.STARTED, State.DUE, State.HELD):
        return "settled", "receipt"
    if carried is False and state is State.HELD:
        return "dead", "undelivered"
    return None


def word_of(vendor: str, told: Told, call: CallMark | None) -> LaterWord:
    """Return the word of a receipt about the call with the mark `call`. "Delivered" counts whichever call it is about
    (rule 2).
    """
    return LaterWord(vendor, told.message_id, None if told.delivered else call)


def word_for_fallback(told: Told) -> str | None:
    """Return what a receipt tells a fallback that waits for the delivery of the first notification: `delivered`,
    `undelivered`, or None for neither.
    """
    if told.delivered:
        return "delivered"
    return "undelivered" if told.carried is False else None
