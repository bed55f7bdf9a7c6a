"""The parts that readers of call-backs share: whom a call-back is about, and its body as a form or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from dispatcher.core.life.receipt import Told
from dispatcher.errors import CallerError


def told_in(query: Mapping[str, str], taken: bool | None) -> Told:
    """Return the receipt for the notification and token in `query`; both went out with the message."""
    for name in ("n", "t"):
        if not query.get(name):
            raise CallerError(name, "is required in the query: it went out with the message", 400)
    return Told(query["n"], query["t"], taken)


def form_of(body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode("utf-8", "replace")))


def object_of(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise CallerError("body", "must be JSON or a form", 400) from None
    return found if isinstance(found, dict) else {}
