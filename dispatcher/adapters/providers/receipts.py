"""The providers' call-backs, read: which notification, whose token, taken or not.

Twilio and Vonage call the address that went out with the message, so id and token are in its query. SendGrid calls one
address of the account with many events, and gives back what went out as `custom_args`. Words that are not final
(`queued`, `deferred`) and events about what readers do say nothing about a message that may not have been sent.
"""

from __future__ import annotations

from collections.abc import Mapping

from dispatcher.adapters.providers import provider
from dispatcher.core.life.receipt import Told
from dispatcher.errors import CallerError


def read_receipts(adapter: str, query: Mapping[str, str], body: bytes) -> list[Told]:
    """Every receipt of one call-back. CallerError: not what this provider sends, or a provider without receipts."""
    read = provider(adapter).read_receipts
    if read is None:
        raise CallerError("vendor", f"{adapter} sends no receipts", 404)
    return read(query, body)
