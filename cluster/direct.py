"""Asks this machine's own ports by HTTP, whatever proxy the environment names.

`http_proxy` is set on many company machines, often without 127.0.0.1 in `no_proxy`. A proxy cannot reach a loopback
address of ours: `up` would never see that it is ready.
"""

from __future__ import annotations

import http.client
import json
import urllib.request
from typing import Any

FAULTS = (OSError, ValueError, http.client.HTTPException)
"""An address that does not answer, or answers with something else than JSON over HTTP."""

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def open_directly(asked: str | urllib.request.Request, timeout_s: float) -> Any:
    """Return the open answer. Raises what `urllib.request.urlopen` does."""
    return _OPENER.open(asked, timeout=timeout_s)


def read_directly(url: str, timeout_s: float) -> Any:
    """Return the JSON at `url`. Raises one of FAULTS."""
    with open_directly(url, timeout_s) as answer:
        return json.load(answer)
