"""The one HTTP client behind every HTTP vendor: total deadline, capped answer, and whether bytes were written.

What an exception means depends on that last thing alone: before the first byte of the request the vendor cannot have
it (`failed`, ours); after it, it may (`unknown`). Nothing is re-sent, redirected, decompressed or read from the
environment (proxies).
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp.abc import AbstractStreamWriter, ResolveResult
from aiohttp.payload import BytesPayload

from dispatcher.core.life.outcome import Outcome, Scope

ANSWER_BYTES_MAX = 64 * 1024
TEXT_MAX = 500
"""How much of a vendor's own sentence operators' rules can see."""
RETRY_AFTER_S_MAX = 300.0
CONNECTIONS_MAX = 256
KEEPALIVE_S = 15.0  # below the idle time-out of common servers, so that a reused connection is rarely a dead one


@dataclass(frozen=True, slots=True)
class Answer:
    """What a vendor answered. `body` is whole: a longer answer is no answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Body(BytesPayload):
    """A body that knows whether writing it has begun. Before that, a vendor has at most headers that promise a body.

    aiohttp's own tracing tells the same, for a signal at every step of every request (ADR 0010).
    """

    written = False

    async def write(self, writer: AbstractStreamWriter) -> None:
        self.written = True
        await super().write(writer)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self.written = True
        await super().write_with_length(writer, content_length)


class _Resolver(aiohttp.ThreadedResolver):
    """The system's, for which a name without an address is an error: aiohttp would stumble over the empty list.

    So is a name that no thread could be had for, which is a RuntimeError: as such it would be a bug of ours, outcome
    unknown, though nothing was sent.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            found = await super().resolve(host, port, family)
        except RuntimeError as error:
            raise OSError(None, str(error)) from error
        if not found:
            raise OSError(None, "the name has no address")
        return found


class HttpClient:
    """A shared keep-alive client; the session opens with the first call, in the loop that makes it."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, timeout_s: float, content: bytes, headers: Mapping[str, str]) -> Answer | Outcome:
        """POST once. An `Answer`, or the `Outcome` when there was none: failed (not sent) or unknown."""
        assert content, "without a body nothing would tell that the request was written"
        session = self._session or self._open()
        sent = _Body(content)
        try:
            async with session.post(
                url,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
                data=sent,
                headers=headers,
            ) as response:
                body = await _read(response)
                if body is None:
                    return Outcome.unknown("answer_too_large")
                return Answer(response.status, response.headers, body)
        except asyncio.TimeoutError:
            return Outcome.unknown("timeout") if sent.written else Outcome.failed("timeout_connect", local_origin=True)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if sent.written:
                return Outcome.unknown("connection_lost")
            if _not_writable(error):
                return Outcome.failed("not_writable", scope=Scope.ACCOUNT)
            return Outcome.failed(_not_sent(error), local_origin=True)

    async def get(self, url: str, timeout_s: float, headers: Mapping[str, str]) -> Answer | None:
        """GET once, of something that may be asked for again. None: no answer, whatever the reason."""
        session = self._session or self._open()
        try:
            async with session.get(
                url, timeout=aiohttp.ClientTimeout(total=timeout_s), allow_redirects=False, headers=headers
            ) as response:
                body = await _read(response)
                return None if body is None else Answer(response.status, response.headers, body)
        except (asyncio.TimeoutError, aiohttp.ClientError, OSError, ValueError):
            return None

    async def post_form(
        self, url: str, timeout_s: float, form: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Answer | Outcome:
        """POST a form, encoded here: aiohttp's own FormData costs as much as the rest of the request."""
        typed = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return await self.post(url, timeout_s, urlencode(form).encode(), typed)

    async def post_json(self, url: str, timeout_s: float, body: Any, headers: Mapping[str, str]) -> Answer | Outcome:
        return await self.post(
            url, timeout_s, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=CONNECTIONS_MAX, ttl_dns_cache=300, keepalive_timeout=KEEPALIVE_S, resolver=_Resolver()
            ),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self._session


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > ANSWER_BYTES_MAX:
            response.close()
            return None
        parts.append(part)
    return b"".join(parts)


def _not_writable(error: Exception) -> bool:
    """Return True if no request could be made of what we gave: an address that is none, a line end in a header.

    That is a fault of the vendor's configuration, never of the network. Errors of certificates are ValueErrors too.
    """
    if isinstance(error, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
        return True
    return isinstance(error, ValueError) and not isinstance(error, (aiohttp.ClientError, OSError))


def _not_sent(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns"
    if isinstance(error, (aiohttp.ClientConnectorSSLError, aiohttp.ClientConnectorCertificateError)):
        return "tls"
    return "connect"


def retry_after_s(headers: Mapping[str, str], now_epoch_s: float) -> float | None:
    """The vendor's wait from Retry-After (seconds or a date), in [0, 300]; None when absent or absurd (NaN, text)."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now_epoch_s
        except (ValueError, TypeError, OverflowError):
            return None
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_S_MAX)
