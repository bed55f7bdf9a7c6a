"""Decides whether a request may do what it asks for.

Rules:

1. While no key is needed, the Host header must be a name of this machine, and a request from a foreign web page is
   refused. Otherwise a page in a developer's browser could send triggers here. It could also read our answers, if the
   DNS name of the page's host led to the loopback address (DNS rebinding).
2. A route needs one scope. A route that is not listed in this file needs `operate`.
3. A receipt needs no key, because its token is the proof. Probes, metrics and documentation need no key either.
4. A request from another installation's proxy is refused, because our port may have belonged to that installation.
5. A wrong key is counted. If there were many, the answer is delayed. A right key never waits because of wrong keys.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable

from dispatcher.errors import CallerError, UnavailableError
from serve_app.bodies import Scope, header, only_header

DEFAULT_TENANT = "default"
"""The tenant of every caller while no key is needed."""

SEND, READ, TEMPLATES, OPERATE = "send", "read", "templates", "operate"

FREE_FAILURES = 10
"""The number of wrong keys within `FAILURE_WINDOW_S` that are answered at once. A user may be setting something up."""
FAILURE_WINDOW_S = 60.0
FAILURE_WAIT_S = 0.5
WAITING_MAX = 20
"""The most wrong keys that may wait for their delayed answer. When this limit is reached, a wrong key gets 429 at once.

A waiting request holds a request slot.
"""


def scope_needed(method: str, path: str) -> str | None:
    """Return the scope that a request needs, or None if it needs no key."""
    parts = path.strip("/").split("/")
    if parts[0] != "v1":
        return None
    match (parts[1:], method):
        case (["receipts", *_], _):
            return None
        case (["triggers", *_], "GET" | "HEAD"):
            return READ
        case (["triggers", *_], "POST"):
            return SEND
        case (["dead-letters"] | ["notifications"], "GET" | "HEAD"):
            return READ
        case (["templates", *_], _):
            return TEMPLATES
        case _:
            return OPERATE


def tenant_of(scope: Scope) -> str:
    """Return the tenant of an admitted request."""
    return str(scope.get("state", {}).get("tenant", DEFAULT_TENANT))


def check_installation(scope: Scope, installation: str) -> None:
    """Raise `UnavailableError` if a proxy marked the request for another installation. The client then tries again."""
    marked = header(scope, b"x-dispatcher-installation")
    if marked is not None and marked != installation:
        raise UnavailableError("the proxy of another installation asked this one")


def check_neighbour(scope: Scope) -> None:
    """Check the host and origin of a request to a service without keys.

    Raises `CallerError` 421 (host) or 403 (origin).
    """
    host = only_header(scope, b"host")
    if host is not None and not _LOCAL.fullmatch(host):
        raise CallerError("Host", "must be localhost, 127.0.0.1 or [::1] while no API key is needed", 421)
    origin = only_header(scope, b"origin")
    if origin is not None and (host is None or _authority(origin) != host.lower()):
        raise CallerError("Origin", "must be this service itself while no API key is needed", 403)


_LOCAL = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{0,5})?", re.IGNORECASE)


def _authority(origin: str) -> str:
    scheme, _, authority = origin.partition("://")
    return authority.lower() if scheme.lower() in ("http", "https") else ""


class WrongKeys:
    """Slows down callers that try one key after another.

    `failed` is called once for each wrong key, to count it in a metric.
    """

    def __init__(self, failed: Callable[[], None]) -> None:
        self._failed = failed
        self._recent: deque[float] = deque(maxlen=FREE_FAILURES + 1)
        self._waiting = 0

    async def note(self) -> None:
        """Count a wrong key. If many wrong keys came in the last time, return only after a delay, so that the answer is
        late.

        Raises `CallerError` (429) if too many answers are being delayed already.
        """
        self._failed()
        now_s = time.monotonic()
        self._recent.append(now_s)
        if len(self._recent) <= FREE_FAILURES or now_s - self._recent[0] > FAILURE_WINDOW_S:
            return
        if self._waiting >= WAITING_MAX:
            raise CallerError("Authorization", "was wrong too often; try again later", 429)
        self._waiting += 1
        try:
            await asyncio.sleep(FAILURE_WAIT_S)
        finally:
            self._waiting -= 1
