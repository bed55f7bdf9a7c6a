"""The HTTP client for vendors, with limits for the time of a call and for the size of an answer.

The client always knows whether bytes of a request were written, and this alone decides what an error means. Before the
first byte the vendor cannot have the request, so the outcome is `failed`, with a local cause. After the first byte the
vendor may have the request, so the outcome is `unknown`. The client never repeats a request or follows a redirect. The
client asks for no compression, and does not use the proxy that the environment names.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from dispatcher.adapters.providers import exchange
from dispatcher.adapters.providers.exchange import ANSWER_BYTES_MAX, Answer
from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.outcome import Outcome, Scope
from dispatcher.deadline import timeout

__all__ = [
    "ANSWER_BYTES_MAX",
    "CALLS_MAX",
    "TEXT_MAX",
    "Answer",
    "HttpClient",
    "read_object",
    "retry_after_s",
    "unspoken",
]

TEXT_MAX = 500
"""The most characters of a vendor's text that operators' rules can see."""
RETRY_AFTER_S_MAX = 300.0
CALLS_MAX = 256
"""The most calls that one vendor actor makes at once. Each call needs a connection, and so a file descriptor."""


class HttpClient:
    """An HTTP client for one vendor. The client keeps connections open. Only one event loop may use a client."""

    def __init__(self) -> None:
        self._pool = exchange.Pool()

    async def post(self, url: str, timeout_s: float, content: bytes, headers: Mapping[str, str]) -> Answer | Outcome:
        """Send one POST request and return the `Answer`.

        Without an answer, return an `Outcome`: `failed` if nothing was sent, `unknown` if something may have been sent.
        """
        try:
            origin, head = exchange.target(url)
            request = exchange.written("POST", head, headers, content)
        except ValueError:  # a fault of the vendor's configuration, never of the network
            return Outcome.failed("not_writable", scope=Scope.ACCOUNT)
        try:
            return await self._exchange(origin, request, timeout_s)
        except exchange.NotSentError as error:
            return Outcome.failed(str(error), local_origin=True)
        except exchange.LostError as error:
            return Outcome.unknown(str(error))

    async def get(self, url: str, timeout_s: float, headers: Mapping[str, str]) -> Answer | None:
        """Send one GET request and return the `Answer`, or None for any error.

        The request must change nothing at the vendor.
        """
        try:
            origin, head = exchange.target(url)
            return await self._exchange(origin, exchange.written("GET", head, headers, b""), timeout_s)
        except (exchange.NotSentError, exchange.LostError, ValueError):
            return None

    async def post_form(
        self, url: str, timeout_s: float, form: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Answer | Outcome:
        typed = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return await self.post(url, timeout_s, urlencode(form).encode(), typed)

    async def post_json(self, url: str, timeout_s: float, body: Any, headers: Mapping[str, str]) -> Answer | Outcome:
        return await self.post(
            url, timeout_s, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
        )

    async def close(self) -> None:
        self._pool.close()

    async def _exchange(self, origin: exchange.Origin, request: bytes, timeout_s: float) -> Answer:
        """Connect if needed, send `request` and return the answer, all within `timeout_s` seconds.

        Raises NotSentError if nothing was written yet, and LostError if something may have been written.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        connection = self._pool.pop(origin, loop.time())
        if connection is None:
            try:
                async with timeout(timeout_s):
                    connection = await self._pool.connect(origin)
            except (asyncio.TimeoutError, TimeoutError):
                raise exchange.NotSentError("timeout_connect") from None
        answer = connection.ask(request)
        timer = loop.call_at(deadline_s, connection.lose, "timeout")
        try:
            return await answer
        finally:
            timer.cancel()
            self._pool.give_back(origin, connection, loop.time())


def read_object(body: bytes) -> JsonObject:
    """Return the JSON object in a vendor's answer, or an empty dict if the body is anything else. No error is raised.

    A byte that is not UTF-8 becomes U+FFFD, so the code elsewhere in the answer can still be read.
    """
    try:
        value = json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


_EVERY_MESSAGE = (404, 405, 408, 410, 425)
"""Statuses that have the same cause for every message: a wrong address or method, or a server that reads no request."""


def unspoken(answer: Answer) -> Outcome:
    """Return the outcome of a 3xx or 4xx answer that is not in the provider's own format. The provider did not accept
    the message.

    Such an answer often comes from a proxy or a firewall, because of the text of one message (RainLoop issue 1059). So
    the answer counts against the provider only if many recipients are affected, or if another vendor accepts the same
    message. A 3xx status, and a status in `_EVERY_MESSAGE`, count against the provider at once. 401, 402 (payment
    required) and 407 concern our account, and 429 means that we send too fast.
    """
    reason, status = f"http_{answer.status}", answer.status
    if status == 429:
        outcome = Outcome.throttled(reason, retry_after_s(answer.headers, time.time()))
    elif status in (401, 402, 407):
        outcome = Outcome.failed(reason, scope=Scope.ACCOUNT)
    elif status < 400 or status in _EVERY_MESSAGE:
        outcome = Outcome.failed(reason)
    else:
        outcome = Outcome.failed(reason, scope=Scope.UNLISTED)
    return replace(outcome, text=answer.body[:TEXT_MAX].decode("utf-8", "replace") or reason)


def _epoch_s(date: str) -> float | None:
    """Return the date in an HTTP header as seconds since 1970. Return None if `date` is not a date."""
    try:
        at = parsedate_to_datetime(date)
        # Two of the three forms of a date in HTTP name no zone, and mean UTC (RFC 9110, section 5.6.7).
        return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


_SECONDS = re.compile(r"([0-9.]+)\s*(?:s|secs?|seconds?|,.*)", re.ASCII | re.IGNORECASE)
"""A number of seconds with something after it: a unit, or a comma and the same header again (joined by a proxy)."""


def retry_after_s(headers: Mapping[str, str], now_epoch_s: float) -> float | None:
    """Return the wait that the Retry-After header asks for, from 0 to 300 seconds.

    A date is compared with the answer's own Date, because our clock may be wrong. `now_epoch_s` is used if there is no
    Date. Return None if the header is missing or is neither a number nor a date.
    """
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        found = _SECONDS.fullmatch(value)
        seconds = float(found[1] if found else value)
    except ValueError:
        at_s, told_s = _epoch_s(value), _epoch_s(headers.get("Date", ""))
        if at_s is None:
            return None
        seconds = at_s - (now_epoch_s if told_s is None else told_s)
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_S_MAX)
