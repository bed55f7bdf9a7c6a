"""The HTTP client of every vendor over HTTP: a total deadline, a limited answer, and whether bytes were written.

The meaning of an exception depends on the last of these alone. Before the first byte of the request, the vendor cannot
have it (`failed`, our own fault). After that byte it may have it (`unknown`). Nothing is sent again, redirected,
decompressed or read from the environment (proxies).
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from dispatcher.adapters.providers import exchange
from dispatcher.adapters.providers.exchange import ANSWER_BYTES_MAX, Answer
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
"""The number of characters of a vendor's sentence that operators' rules can see."""
RETRY_AFTER_S_MAX = 300.0
CALLS_MAX = 256
"""The most calls that one vendor actor makes at once. Each has a connection, and a connection has a descriptor."""


class HttpClient:
    """A client of one vendor, with connections kept alive. It belongs to one event loop."""

    def __init__(self) -> None:
        self._pool = exchange.Pool()

    async def post(self, url: str, timeout_s: float, content: bytes, headers: Mapping[str, str]) -> Answer | Outcome:
        """POST once. Return an `Answer`, or, without an answer, the `Outcome`: failed (not sent) or unknown."""
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
        """GET once what may be asked for again. Return None without an answer, whatever the reason."""
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
        """One deadline for everything. Raises NotSentError before the first byte, LostError after it."""
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


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a vendor answered, or an empty one when the answer is something else.

    Nothing that a server can answer raises here: neither wrong UTF-8, nor a byte order mark, nor deep nesting. A byte
    that is no UTF-8 becomes U+FFFD, because the code beside it still counts.
    """
    try:
        value = json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


_EVERY_MESSAGE = (404, 405, 408, 410, 425)
"""A wrong address or method, and a server that did not take the request: these befall every message alike."""


def unspoken(answer: Answer) -> Outcome:
    """Return what a 3xx or 4xx means that is not in the provider's own words. Nothing was accepted.

    A proxy or a firewall between us and the provider says it, often because of one text (RainLoop 1059): so it is no
    evidence against the provider until another vendor accepts the same message, or it befalls many recipients.
    """
    reason, status = f"http_{answer.status}", answer.status
    if status == 429:
        outcome = Outcome.throttled(reason, retry_after_s(answer.headers, time.time()))
    elif status in (401, 407):
        outcome = Outcome.failed(reason, scope=Scope.ACCOUNT)
    elif status < 400 or status in _EVERY_MESSAGE:
        outcome = Outcome.failed(reason)
    else:
        outcome = Outcome.failed(reason, scope=Scope.UNLISTED)
    return replace(outcome, text=answer.body[:TEXT_MAX].decode("utf-8", "replace") or reason)


def retry_after_s(headers: Mapping[str, str], now_epoch_s: float) -> float | None:
    """Return the wait in Retry-After (seconds or a date), in [0, 300]; None if it is absent or absurd (NaN, text)."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
            # Two of the three forms of a date in HTTP name no zone, and mean UTC (RFC 9110, section 5.6.7).
            seconds = (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp() - now_epoch_s
        except (ValueError, TypeError, OverflowError):
            return None
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_S_MAX)
