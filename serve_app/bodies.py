"""Reads the bodies of all requests, with limits of size and time, and checks their headers.

The limits are here because a client's header can switch off Serve's own limits. FastAPI would read a body without any
limit, so it gets a body that was read and checked here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any

from dispatcher.errors import CallerError
from serve_app.body_deadline import read_within

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_DEADLINE_S = 5.0
"""The longest time in seconds for a body. A slower body is answered 408, because it holds a request slot."""

OTHER_BYTES_MAX = 1_048_576
"""The most bytes of a body on every route except the two for triggers.

SendGrid sends up to 768 KB of events at once.
"""


_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([^\s;"']*)""", re.IGNORECASE)
_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")


class ClientGoneError(Exception):
    """The client left while it was sending its body. No answer is sent."""


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first header with this name, or None. `name` is in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


def only_header(scope: Scope, name: bytes) -> str | None:
    """Return the header with this name, or None.

    Raises `CallerError` (400) if there are two, because they could differ.
    """
    found = [value for key, value in scope["headers"] if key == name]
    if len(found) > 1:
        raise CallerError(name.decode().title(), "must be given only once", 400)
    return found[0].decode("latin-1") if found else None


async def read_body(scope: Scope, receive: Receive, size_max: int, deadline_s: float | None = None) -> bytes:
    """Return the whole body of a request. `deadline_s` limits the time in seconds.

    Raises `CallerError` 413 (more than `size_max` bytes, declared or read), 415 (compressed) or 408 (too slow), and
    `ClientGoneError` if the client left.
    """
    encoding = only_header(scope, b"content-encoding")
    if encoding and encoding.lower() != "identity":
        raise CallerError("Content-Encoding", "must be left out; compressed bodies are not accepted", 415)
    declared = header(scope, b"content-length")
    if declared and declared.isdigit() and (len(declared) > 18 or int(declared) > size_max):
        raise _too_large(size_max)
    deadline_s = BODY_DEADLINE_S if deadline_s is None else deadline_s
    try:
        return await read_within(_whole(receive, size_max), deadline_s)
    except asyncio.TimeoutError:
        raise CallerError("body", f"must arrive within {deadline_s:g} s", 408) from None


def check_json(scope: Scope) -> None:
    """Raise `CallerError` (415) unless the Content-Type header says JSON, with UTF-8 or no charset.

    The check also protects a service without keys, because a web page can post forms and texts to any address, but not
    JSON.
    """
    media = only_header(scope, b"content-type")
    if media is None or media.split(";")[0].strip().lower() != "application/json":
        raise CallerError("Content-Type", "must be application/json", 415)
    if any(found.lower() not in _CHARSETS for found in _CHARSET.findall(media)):
        raise CallerError("Content-Type", "must name no charset other than utf-8", 415)


def check_query(given: Sequence[str], known: Iterable[str] = ()) -> None:
    """Raise `CallerError` (422) if one of the parameters in a query is not `known`, or is given twice.

    Without this check, a misspelt filter would be ignored and the answer would list everything. A caller who adds
    `?dry_run=true` to a route without parameters would send a real message.
    """
    known = sorted(known)
    for name in given:
        if name not in known:
            allowed = ", ".join(known) or "none"
            raise CallerError(name if name.isidentifier() else "query", f"is no query parameter; known are: {allowed}")
        if given.count(name) > 1:
            raise CallerError(name, "must be given once")


def replay(body: bytes, receive: Receive) -> Receive:
    """Return an ASGI `receive` function that returns `body` first and then calls the original `receive`."""
    given = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _whole(receive: Receive, size_max: int) -> bytes:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        size += len(part)
        if size > size_max:
            raise _too_large(size_max)
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _too_large(size_max: int) -> CallerError:
    return CallerError("body", f"must have at most {size_max} bytes", 413)
