"""Calls this machine's own ports by HTTP and ignores any proxy that the environment names.

Many company machines set `http_proxy` without 127.0.0.1 in `no_proxy`. A proxy cannot reach our loopback addresses, so
`up` would never see that its service is ready.
"""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.request
from typing import Any

FAULTS = (OSError, ValueError, http.client.HTTPException)
"""The errors of an address that does not answer, or that answers something other than JSON over HTTP."""

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def open_directly(asked: str | urllib.request.Request, timeout_s: float, trust: ssl.SSLContext | None = None) -> Any:
    """Send the request `asked` and return the open response. Raises the errors of `urllib.request.urlopen`.

    `trust` says which certificates are trusted. Without it, the system's certificates are trusted.
    """
    opener = _OPENER
    if trust is not None:
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
    return opener.open(asked, timeout=timeout_s)


def read_directly(url: str, timeout_s: float) -> Any:
    """Return the JSON at `url`. Raises one of the errors in `FAULTS` if no JSON comes."""
    with open_directly(url, timeout_s) as answer:
        return json.load(answer)
