"""Vonage SMS: POST /sms/json, form encoded. HTTP is 200 even for errors; the word is in `messages[].status`.

Accepted is status "0" with a message-id for every part. Parts can differ: when some were taken, the message is
unknown, since a repeat would send those again.

No status look-up: only the Reports API finds a message by recipient, and that is a product to be paid for. A held
message waits for its receipt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from dispatcher.adapters.vendors.call_backs import form_of, object_of, told_in
from dispatcher.adapters.vendors.fields import Options, Secret, SmsFrom, Text, Url
from dispatcher.adapters.vendors.http import Answer, HttpClient
from dispatcher.adapters.vendors.provider import Provider
from dispatcher.core.message import Message
from dispatcher.core.outcome import Outcome, Scope
from dispatcher.core.receipt import Told

MESSAGE_STATUS = {"2", "3", "6", "7", "12", "15", "22", "33"}
ACCOUNT_STATUS = {"4", "8", "9", "11", "14", "29", "32"}
THROTTLED_STATUS = {"1", "10"}


class VonageOptions(Options):
    """A key, its secret, and a number, short code or name to send from."""

    base_url: Url = "https://rest.nexmo.com"
    api_key: Text
    api_secret: Secret
    sender: SmsFrom


class Vonage:
    """One Vonage account and sender."""

    def __init__(self, name: str, channel: str, options: VonageOptions) -> None:
        self.name, self.channel = name, channel
        self._url = options.base_url + "/sms/json"
        self._key, self._secret = options.api_key, options.api_secret
        self._sender = options.sender
        self._http = HttpClient()

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        form = {
            "api_key": self._key,
            "api_secret": self._secret.get_secret_value(),
            "from": self._sender,
            "to": message.to.lstrip("+"),
            "text": message.text,
        }
        if not message.text.isascii():
            form["type"] = "unicode"
        if message.receipt is not None:
            form |= {"status-report-req": "1", "callback": message.receipt.url}
        answer = await self._http.post_form(self._url, timeout_s, form)
        return answer if isinstance(answer, Outcome) else classify(answer)

    async def close(self) -> None:
        await self._http.close()


def classify(answer: Answer) -> Outcome:
    if answer.status == 429:
        return Outcome.throttled("http_429")
    if answer.status in (401, 403):
        return Outcome.failed(f"http_{answer.status}", scope=Scope.ACCOUNT)
    if 400 <= answer.status < 500:
        return Outcome.failed(f"http_{answer.status}")
    if answer.status != 200:
        return Outcome.unknown(f"http_{answer.status}")
    parts = _parts(answer.body)
    if not parts:
        return Outcome.unknown("no_message_id")
    taken = [part for part in parts if part[0] == "0"]
    if len(taken) == len(parts):
        return Outcome.accepted(parts[0][1]) if all(part[1] for part in parts) else Outcome.unknown("no_message_id")
    if taken:
        return Outcome.unknown("parts_differ")
    status = parts[0][0]
    if status in THROTTLED_STATUS:
        return Outcome.throttled(f"vonage_{status}")
    if status in ACCOUNT_STATUS:
        return Outcome.failed(f"vonage_{status}", scope=Scope.ACCOUNT)
    if status in MESSAGE_STATUS:
        return Outcome.rejected(f"vonage_{status}")
    return Outcome.unknown(f"vonage_{status}")


def _parts(body: bytes) -> list[tuple[str, str]]:
    try:
        messages = json.loads(body)["messages"]
        return [(str(part["status"])[:4], str(part.get("message-id") or "")) for part in messages]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


RECEIPT_WORDS = {
    **dict.fromkeys(("accepted", "delivered"), True),
    **dict.fromkeys(("expired", "failed", "rejected"), False),
}


def read_call_back(query: Mapping[str, str], body: bytes) -> list[Told]:
    """GET with everything in the query, or POST as form or JSON: a setting of the account."""
    told = {**query, **(object_of(body) if body.lstrip().startswith(b"{") else form_of(body))}
    return [told_in(query, RECEIPT_WORDS.get(str(told.get("status", ""))))]


VONAGE = Provider("vonage", ("sms",), VonageOptions, Vonage, read_call_back)
