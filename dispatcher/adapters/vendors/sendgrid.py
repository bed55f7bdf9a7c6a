"""SendGrid v3: POST /v3/mail/send, JSON, bearer key. Accepted is 202 with X-Message-Id; the body is empty.

No status look-up: the Email Activity API, which could find our `nid`, is an add-on with keys of its own. A held message
waits for its receipt.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from dispatcher.adapters.vendors.http import Answer, HttpClient, retry_after_s
from dispatcher.adapters.vendors.options import Options
from dispatcher.core.message import Message
from dispatcher.core.outcome import Outcome, Scope

MESSAGE_ID = re.compile(r"^[\w.@-]{8,128}$")


class SendGrid:
    """One SendGrid account and sender."""

    def __init__(self, name: str, channel: str, options: Mapping[str, Any]) -> None:
        self.name, self.channel = name, channel
        o = Options(name, options)
        self._url = o.text("base_url", "https://api.sendgrid.com").rstrip("/") + "/v3/mail/send"
        self._key, self._sender = o.secret("api_key"), o.text("sender")
        o.end()
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
            "from": {"email": self._sender},
            "subject": message.subject or "",
            "content": content,
        }
        headers = {"Authorization": f"Bearer {self._key.reveal()}"}
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
