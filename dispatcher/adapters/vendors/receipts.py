"""The providers' call-backs, read: which notification, whose token, taken or not.

Twilio and Vonage call the address that went out with the message, so id and token are in its query. SendGrid calls one
address of the account with many events, and gives back what went out as `custom_args`. Words that are not final
(`queued`, `deferred`) and events about what readers do say nothing about a message that may not have been sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from dispatcher.core.receipt import Told
from dispatcher.errors import CallerError

TWILIO = {"sent": True, "delivered": True, "read": True, "undelivered": False, "failed": False, "canceled": False}
VONAGE = {"accepted": True, "delivered": True, "expired": False, "failed": False, "rejected": False}
SENDGRID = {"processed": True, "delivered": True, "open": True, "click": True, "bounce": False, "dropped": False}

EVENTS_MAX = 10_000
"""Of one call-back: a few hundred times what a provider sends at once."""


def read_receipts(adapter: str, query: Mapping[str, str], body: bytes) -> list[Told]:
    """Every receipt of one call-back. CallerError: not what this provider sends, or a provider without receipts."""
    read = _READERS.get(adapter)
    if read is None:
        raise CallerError("vendor", f"{adapter} sends no receipts", 404)
    return read(query, body)


def _twilio(query: Mapping[str, str], body: bytes) -> list[Told]:
    return [_one(query, TWILIO.get(_form(body).get("MessageStatus", "")))]


def _vonage(query: Mapping[str, str], body: bytes) -> list[Told]:
    """GET with everything in the query, or POST as form or JSON: a setting of the account."""
    told = {**query, **(_object(body) if body.lstrip().startswith(b"{") else _form(body))}
    return [_one(query, VONAGE.get(str(told.get("status", ""))))]


def _sendgrid(query: Mapping[str, str], body: bytes) -> list[Told]:
    try:
        events = json.loads(body)
    except (ValueError, RecursionError):
        raise CallerError("body", "must be JSON", 400) from None
    if not isinstance(events, list) or len(events) > EVENTS_MAX:
        raise CallerError("body", f"must be a list of at most {EVENTS_MAX} events", 400)
    return [
        Told(str(event["nid"]), str(event.get("ntoken", "")), SENDGRID.get(str(event.get("event"))))
        for event in events
        if isinstance(event, dict) and "nid" in event
    ]


def _one(query: Mapping[str, str], taken: bool | None) -> Told:
    for name in ("n", "t"):
        if not query.get(name):
            raise CallerError(name, "is required in the query: it went out with the message", 400)
    return Told(query["n"], query["t"], taken)


def _form(body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode("utf-8", "replace")))


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise CallerError("body", "must be JSON or a form", 400) from None
    return found if isinstance(found, dict) else {}


_READERS: dict[str, Callable[[Mapping[str, str], bytes], list[Told]]] = {
    "twilio": _twilio,
    "vonage": _vonage,
    "sendgrid": _sendgrid,
}
