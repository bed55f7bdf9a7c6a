"""Functions that all readers of call-backs share: they parse a body, and find the notification in the query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from dispatcher.core.life.receipt import Told
from dispatcher.errors import CallerError
from dispatcher.wire.json import parse_foreign_json

DEPTH_MAX = 16
FIELDS_MAX = 200
"""The most fields of a form in a call-back.

Providers send some twenty; parsing thousands would block the event loop.
"""


def told_in(query: Mapping[str, str], carried: bool | None, delivered: bool = False) -> Told:
    """Return a receipt for the notification and the token in `query`.

    The vendor got both in the link for its call-backs.

    Raises `CallerError` (400) if the id or the token is missing.
    """
    for name in ("n", "t"):
        if not query.get(name):
            raise CallerError(name, "is required in the query, as in the address that went out with the message", 400)
    return Told(query["n"], query["t"], carried, delivered)


def form_of(body: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=FIELDS_MAX))
    except ValueError:
        raise CallerError("body", f"must be a form of at most {FIELDS_MAX} fields", 400) from None


def json_of(body: bytes) -> Any:
    """Return the JSON value in `body`. Raises `CallerError` (400) if it is not valid JSON."""
    return parse_foreign_json(body, DEPTH_MAX)


def object_of(body: bytes) -> dict[str, Any]:
    found = json_of(body)
    return found if isinstance(found, dict) else {}
