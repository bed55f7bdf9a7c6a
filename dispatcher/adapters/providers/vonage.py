"""Vonage SMS: POST /sms/json with a form body. HTTP is 200 even for errors; `messages[].status` holds the result.

A message was accepted if every part has status "0" and a message-id. If only some parts were accepted, the outcome is
unknown, because a repeat would send these parts again.

A call-back address may have 100 characters at most, so the signed id goes out in `client-ref`, which every receipt
repeats. It may have 100 characters too.

A message's status cannot be looked up: only the Reports API finds a message by its recipient, and it costs extra. So a
held message waits for its receipt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dispatcher.adapters.providers.call_backs import fields_of, told_in, word_of
from dispatcher.adapters.providers.fields import Options, Secret, SmsFrom, Text, Url
from dispatcher.adapters.providers.http import CALLS_MAX, TEXT_MAX, Answer, HttpClient, read_object, unspoken
from dispatcher.adapters.providers.provider import Provider
from dispatcher.core.life.late_refusal import LateRefusal
from dispatcher.core.life.outcome import Meaning, Outcome, OutcomeKind, Scope, listed, read_refusal
from dispatcher.core.life.receipt import Told
from dispatcher.core.life.rendered_message import Message
from dispatcher.core.life.sms_text import measure

DOCS = "https://developer.vonage.com/en/messaging/sms/guides/troubleshooting-sms"
WORDS = (
    listed(Meaning.FINAL, DOCS, "7", "12", "33")  # number barred, message too long, number de-activated
    | listed(Meaning.ROUTE, DOCS, "6", "15")  # a prefix that cannot be routed, a sender not allowed in that country
    # Credentials, a barred account, its quota, HTTP not enabled, signature wrong or not wanted.
    | listed(Meaning.ACCOUNT, DOCS, "4", "8", "9", "11", "14", "32")
    | listed(Meaning.ACCOUNT, DOCS, "23")  # our `receipts.public_url` makes an address that is too long or malformed
    | listed(Meaning.RATE, DOCS, "1", "10")  # throttled, too many binds
    | listed(Meaning.UNKNOWN, DOCS, "5", "13")  # an internal error, a communication that failed
)
"""The meanings of Vonage's status numbers. A message with any other number goes to the next vendor.

Three numbers are left out on purpose. 29 is a demo account's recipient that is not on its list, so other recipients may
work. 2 and 3 may concern our sender or our request.
"""


SEPARATOR = ":"
"""The character between id, token and call in `client-ref`. None of them contains it."""

TTL_MS_MIN, TTL_MS_MAX = 20_000, 604_800_000
"""The bounds of `ttl` that Vonage documents.

A message with less time left may be delivered up to 20 s after its expiry.
"""


class VonageOptions(Options):
    """A key, its secret, and a number, short code or name to send from.

    `entity_id` and `content_id` are needed for messages to India (DLT).
    """

    base_url: Url = "https://rest.nexmo.com"
    api_key: Text
    api_secret: Secret
    sender: SmsFrom
    entity_id: Text | None = None
    content_id: Text | None = None


class Vonage:
    """A vendor: one Vonage account with one sender."""

    def __init__(self, name: str, channel: str, options: VonageOptions) -> None:
        self.name, self.channel = name, channel
        self._url = options.base_url + "/sms/json"
        self._key, self._secret = options.api_key, options.api_secret
        self._sender = options.sender
        ids = {"entity-id": options.entity_id, "content-id": options.content_id}
        self._ids = {name: value for name, value in ids.items() if value is not None}
        self._http = HttpClient()

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        form = {
            "api_key": self._key,
            "api_secret": self._secret.get_secret_value(),
            "from": self._sender,
            "to": message.to.lstrip("+"),
            "text": message.text,
            "client-ref": message.notification_id,
            **self._ids,
        }
        if measure(message.text).encoding == "ucs2":
            form["type"] = "unicode"
        if message.expires_in_s is not None:
            form["ttl"] = str(min(max(TTL_MS_MIN, int(message.expires_in_s * 1000)), TTL_MS_MAX))
        if message.receipt is not None:
            reference = SEPARATOR.join((message.notification_id, message.receipt.token, message.receipt.call))
            form |= {"status-report-req": "true", "callback": message.receipt.address, "client-ref": reference}
        answer = await self._http.post_form(self._url, timeout_s, form)
        return answer if isinstance(answer, Outcome) else classify(answer)

    async def close(self) -> None:
        await self._http.close()


def classify(answer: Answer) -> Outcome:
    if 200 <= answer.status < 300:
        return _read(answer.body)
    text = answer.body[:TEXT_MAX].decode("utf-8", "replace")
    if answer.status >= 500 or answer.status < 200:
        return replace(Outcome.unknown(f"http_{answer.status}"), text=text)
    if answer.status == 403 and {"title", "error_title"} & read_object(answer.body).keys():  # Vonage's own format
        return replace(Outcome.failed("http_403", scope=Scope.ACCOUNT), text=text)
    return unspoken(answer)


def _read(body: bytes) -> Outcome:
    """Return the outcome of a 2xx answer, by the statuses of all parts together."""
    parts = _parts(body)
    if not parts:
        return Outcome.unknown("no_message_id")
    accepted = [part for part in parts if part[0] == "0"]
    if len(accepted) == len(parts):
        return Outcome.accepted(parts[0][1]) if all(part[1] for part in parts) else Outcome.unknown("no_message_id")
    if accepted:
        return Outcome.unknown("parts_differ")
    told = [read_refusal("vonage", status, WORDS, text=text) for status, _, text in parts]
    # If one part is not clearly refused, the whole message is not.
    return next((one for one in told if one.kind is not OutcomeKind.REJECTED), told[0])


def _parts(body: bytes) -> list[tuple[str, str, str]]:
    """Return status, message-id and error text of each part.

    The list is empty if the answer is not in Vonage's format.
    """
    messages = read_object(body).get("messages")
    if not isinstance(messages, list) or not all(isinstance(part, dict) and _status(part) for part in messages):
        return []
    return [
        (_status(part), str(part.get("message-id") or ""), str(part.get("error-text", ""))[:TEXT_MAX])
        for part in messages
    ]


def _status(part: Mapping[str, Any]) -> str:
    """Return the status of a part as the table `WORDS` has it, or "" if the status is no number.

    A status that is no number does not prove that the part was refused.
    """
    value = part.get("status")
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()
    return str(int(text)) if re.fullmatch("[0-9]{1,4}", text, re.ASCII) else ""


RECEIPT_WORDS = {
    **dict.fromkeys(("accepted", "delivered"), True),
    **dict.fromkeys(("expired", "failed", "rejected"), False),
}


def read_call_back(query: Mapping[str, str], body: bytes) -> list[Told]:
    """Return the receipt of a call-back.

    Depending on the account's setting, a call-back is a GET with all fields in the query, or a POST with a form or
    JSON.
    """
    fields = {**query, **fields_of(body)}
    word = word_of(fields.get("status", ""))
    carried = RECEIPT_WORDS.get(word)
    refusal = _late_refusal(word, fields) if carried is False else None
    reference = str(fields.get("client-ref") or "").split(SEPARATOR)
    marks = dict(zip("ntc", reference, strict=True)) if len(reference) == 3 else query  # of an earlier version's call
    return [told_in(marks, carried, word == "delivered", refusal, message_id=_message_id(fields))]


DLR_DOCS = "https://developer.vonage.com/en/messaging/sms/guides/delivery-receipts"
LATE_WORDS = (
    # The number is not in use, the recipient barred the sender, or does not want the messages of this service.
    listed(Meaning.FINAL, DLR_DOCS, "3", "4", "9")
    | listed(Meaning.DEFERRED, DLR_DOCS, "2", "7", "15")  # a telephone that is off or busy, or has no credit
    # No route, or the rules of a country about senders and texts, such as India's DLT.
    | listed(Meaning.ROUTE, DLR_DOCS, "11", "50", "51", "52", "53", "54")
    | listed(Meaning.VENDOR, DLR_DOCS, "5", "8", "16")  # number portability, the network, the gateway's quota
    # A filter, a wrong parameter, no route to this number, an age restriction, a plan without SMS.
    | listed(Meaning.UNLISTED, DLR_DOCS, "6", "10", "12", "13", "14")
    | listed(Meaning.UNKNOWN, DLR_DOCS, "0")  # "delivered", beside a status that says the opposite
)
"""The meanings of `err-code` in a delivery receipt.

1 and 99 are left out on purpose: the carrier says only that the message did not arrive. So both count like any code
that is not listed. Each code was checked against `DLR_DOCS` and
https://api.support.vonage.com/hc/en-us/articles/204014733. The exception is 16, which only public clients know
(https://github.com/nyaruka/courier).
"""


def _late_refusal(word: str, fields: Mapping[str, Any]) -> LateRefusal | None:
    """Return why the carrier gave a message up, or None if the receipt does not tell, or if the message has expired."""
    code = _status({"status": fields.get("err-code")})
    if word == "expired":
        return None
    outcome = read_refusal("vonage_receipt", code or word, LATE_WORDS)
    return LateRefusal(outcome, word == "rejected" or code in LATE_WORDS, _message_id(fields))


def _message_id(fields: Mapping[str, Any]) -> str:
    return str(fields.get("messageId") or "")


VONAGE = Provider("vonage", ("sms",), VonageOptions, Vonage, read_call_back, WORDS, calls_max=CALLS_MAX)
