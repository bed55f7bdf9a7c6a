"""SendGrid v3: POST /v3/mail/send, JSON, bearer key. Accepted is 202 with X-Message-Id; the body is empty.

No status look-up: the Email Activity API, which could find our `nid`, is an add-on with keys of its own. A held message
waits for its receipt.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping

from dispatcher.adapters.vendors.fields import EmailFrom, Options, Secret, Url
from dispatcher.adapters.vendors.http import Answer, HttpClient, retry_after_s
from dispatcher.adapters.vendors.provider import Provider
from dispatcher.core.message import Message
from dispatcher.core.outcome import Outcome, Scope
from dispatcher.core.receipt import Told
from dispatcher.errors import CallerError

MESSAGE_ID = re.compile(r"^[\w.@-]{8,128}$")


class SendGridOptions(Options):
    """A key, and the address to send from, with a display name or without."""

    base_url: Url = "https://api.sendgrid.com"
    api_key: Secret
    sender: EmailFrom


class SendGrid:
    """One SendGrid account and sender."""

    def __init__(self, name: str, channel: str, options: SendGridOptions) -> None:
        self.name, self.channel = name, channel
        self._url = options.base_url + "/v3/mail/send"
        self._key, sender = options.api_key, options.sender
        self._from = {"email": sender.address, **({"name": sender.name} if sender.name else {})}
        self._http = HttpClient()

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        content = [{"type": "text/plain", "value": message.text}]
        if message.html is not None:
            content.append({"type": "text/html", "value": message.html})
        marks = {"nid": message.notification_id}
        if message.receipt is not None:
            marks["ntoken"] = message.receipt.token
        body = {
            "personalizations": [{"to": [{"email": message.to}], "custom_args": marks}],
            "from": self._from,
            "subject": message.subject or "",
            "content": content,
        }
        headers = {"Authorization": f"Bearer {self._key.get_secret_value()}"}
        answer = await self._http.post_json(self._url, timeout_s, body, headers)
        return answer if isinstance(answer, Outcome) else classify(answer)

    async def close(self) -> None:
        await self._http.close()


def classify(answer: Answer) -> Outcome:
    match answer.status:
        case 202:
            found = answer.headers.get("X-Message-Id", "")
            return Outcome.accepted(found) if MESSAGE_ID.match(found) else Outcome.unknown("no_message_id")
        case 429:
            return Outcome.throttled("http_429", retry_after_s(answer.headers, time.time()))
        case 401 | 403:
            return Outcome.failed(f"http_{answer.status}", scope=Scope.ACCOUNT)
        case 400 | 413 | 422:
            return Outcome.rejected(f"http_{answer.status}")
        case status if 300 <= status < 500:
            return Outcome.failed(f"http_{status}")
        case status:
            return Outcome.unknown(f"http_{status}")


RECEIPT_WORDS = {
    **dict.fromkeys(("processed", "delivered", "open", "click"), True),
    **dict.fromkeys(("bounce", "dropped"), False),
}
EVENTS_MAX = 10_000
"""One call-back may hold a few hundred times as many events as the provider sends at once."""


def read_call_back(query: Mapping[str, str], body: bytes) -> list[Told]:
    try:
        events = json.loads(body)
    except (ValueError, RecursionError):
        raise CallerError("body", "must be JSON", 400) from None
    if not isinstance(events, list) or len(events) > EVENTS_MAX:
        raise CallerError("body", f"must be a list of at most {EVENTS_MAX} events", 400)
    return [
        Told(str(event["nid"]), str(event.get("ntoken", "")), RECEIPT_WORDS.get(str(event.get("event"))))
        for event in events
        if isinstance(event, dict) and "nid" in event
    ]


SENDGRID = Provider("sendgrid", ("email",), SendGridOptions, SendGrid, read_call_back)
