"""Twilio Programmable Messaging: POST /2010-04-01/Accounts/{Sid}/Messages.json, form encoded, basic auth.

Accepted is 201 with a message sid and a status that is not `failed`. A 429 was never processed. A 5xx may have been
(Twilio's own word: the customer may get it twice), so it is unknown.
"""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from dispatcher.adapters.vendors.http import Answer, HttpClient, retry_after_s
from dispatcher.adapters.vendors.options import Options
from dispatcher.core.message import Message
from dispatcher.core.outcome import Outcome, Scope

SID = re.compile(r"^(SM|MM)[0-9a-f]{32}$")
RECIPIENT_CODES = {21211, 21610, 21614, 21408, 21612}  # bad number, opted out, no mobile, region not allowed, no route
ACCOUNT_CODES = {20003, 21606, 20005}  # credentials, sender not ours, account not active
NOT_SENT_CODES = {20429, 21611}  # too many requests, queue full


class Twilio:
    """One Twilio account and sender."""

    def __init__(self, name: str, channel: str, options: Mapping[str, Any]) -> None:
        self.name, self.channel = name, channel
        o = Options(name, options)
        base, sid = o.text("base_url", "https://api.twilio.com").rstrip("/"), o.text("account_sid")
        self._url = f"{base}/2010-04-01/Accounts/{sid}/Messages.json"
        credentials = b64encode(f"{sid}:{o.secret('auth_token').reveal()}".encode()).decode()
        self._headers = {"Authorization": f"Basic {credentials}"}
        self._sender = o.text("sender")
        o.end()
        self._http = HttpClient()

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        form = {"To": message.to, "From": self._sender, "Body": message.text}
        if message.receipt is not None:
            form["StatusCallback"] = message.receipt.url
        answer = await self._http.post_form(self._url, timeout_s, form, self._headers)
        return answer if isinstance(answer, Outcome) else classify(answer)

    async def close(self) -> None:
        await self._http.close()


def classify(answer: Answer) -> Outcome:
    body = _json(answer.body)
    code = body.get("code") if isinstance(body.get("code"), int) else None
    if 200 <= answer.status < 300:
        sid = body.get("sid")
        if isinstance(sid, str) and SID.match(sid) and body.get("status") != "failed":
            return Outcome.accepted(sid)
        return Outcome.unknown("no_message_id")
    if answer.status == 429 or code in NOT_SENT_CODES:
        return Outcome.throttled(f"twilio_{code or 429}", retry_after_s(answer.headers, time.time()))
    if answer.status >= 500:
        return Outcome.unknown(f"http_{answer.status}")
    if answer.status in (401, 403) or code in ACCOUNT_CODES:
        return Outcome.failed(f"twilio_{code or answer.status}", scope=Scope.ACCOUNT)
    if code in RECIPIENT_CODES:
        return Outcome.rejected(f"twilio_{code}", Scope.RECIPIENT)
    if 400 <= answer.status < 500 and code is not None:
        return Outcome.rejected(f"twilio_{code}", Scope.MESSAGE)
    # A 4xx without Twilio's own code is not Twilio speaking: a proxy, a wrong base_url.
    return Outcome.failed(f"http_{answer.status}")


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
