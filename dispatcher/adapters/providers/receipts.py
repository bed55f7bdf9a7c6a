"""Reads the providers' call-backs: the notification, its token, and whether the message was delivered.

Twilio and Vonage call the address that went out with the message, so id and token are in its query. SendGrid calls one
address of the account with many events, and returns what went out as `custom_args`. Words that are not final (`queued`,
`deferred`), and events about the reader's actions, say nothing about a message that may not have been sent.
"""

from __future__ import annotations

from collections.abc import Mapping

from dispatcher.adapters.providers import provider
from dispatcher.core.life.receipt import Told
from dispatcher.errors import CallerError


def read_receipts(adapter: str, query: Mapping[str, str], body: bytes) -> list[Told]:
    """Return every receipt of one call-back. Raises CallerError if its provider does not send this, or sends none."""
    read = provider(adapter).read_receipts
    if read is None:
        raise CallerError("vendor", f"{adapter} sends no receipts", 404)
    return read(query, body)
