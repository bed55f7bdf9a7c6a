"""Reads the call-backs of providers. A receipt names a notification, its token, and whether the message was delivered.

Twilio and Vonage call the link that was sent with the message. The query of this link holds the id and the token.
SendGrid sends many events at once to one URL of the account. Each event repeats the `custom_args` of its mail, and
these hold the id and the token. A status such as `queued`, or a status that is not listed, does not tell whether the
message was delivered.
"""

from __future__ import annotations

from collections.abc import Mapping

from dispatcher.adapters.providers import provider
from dispatcher.core.life.receipt import Told
from dispatcher.errors import CallerError


def read_receipts(adapter: str, query: Mapping[str, str], body: bytes) -> list[Told]:
    """Return all receipts of a call-back. Raises `CallerError` if the call-back is not in the provider's format.

    Raises `CallerError` (404) if the provider sends no call-backs.
    """
    read = provider(adapter).read_receipts
    if read is None:
        raise CallerError("vendor", f"must not be of {adapter}, which sends no receipts", 404)
    return read(query, body)
