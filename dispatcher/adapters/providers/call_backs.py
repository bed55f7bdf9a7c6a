"""Functions that all readers of call-backs share: they parse a body, and find the notification in the query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.late_refusal import LateRefusal
from dispatcher.core.life.receipt import Told
from dispatcher.errors import CallerError
from dispatcher.wire.json import BYTE_ORDER_MARK, parse_foreign_json

DEPTH_MAX = 16
FIELDS_MAX = 200
"""The most fields of a form in a call-back.

Providers send some twenty; parsing thousands would block the event loop.
"""


def told_in(
    query: Mapping[str, str],
    carried: bool | None,
    delivered: bool = False,
    refusal: LateRefusal | None = None,
    *,
    message_id: str = "",
) -> Told:
    """Return the receipt in a vendor's call-back, whose URL had this `query`.

    The URL is the link that the vendor got with the message, so its query has the notification's id, a token and the
    mark of the call. The other arguments become the receipt's fields.

    Raises `CallerError` (400) if the id or the token is missing.
    """
    for name in ("n", "t"):
        if not query.get(name):
            raise CallerError(name, "is required in the query, as in the address that went out with the message", 400)
    return Told(query["n"], query["t"], carried, delivered, refusal, query.get("c", ""), message_id)


def fields_of(body: bytes) -> JsonObject:
    """Return the fields of a call-back, which is a form or a JSON object, depending on a setting of the account.

    A byte order mark and white space around the body are dropped. Raises `CallerError` (400) if `body` cannot be read.
    """
    text = body.removeprefix(BYTE_ORDER_MARK).strip()
    if text[:1] in (b"{", b"["):
        found = parse_foreign_json(text, DEPTH_MAX)
        if isinstance(found, list) and len(found) == 1:
            found = found[0]
        return found if isinstance(found, dict) else {}
    try:
        return dict(parse_qsl(text.decode("utf-8", "replace"), max_num_fields=FIELDS_MAX))
    except ValueError:
        raise CallerError("body", f"must be a form of at most {FIELDS_MAX} fields", 400) from None


def json_of(body: bytes) -> Any:
    """Return the JSON value in `body`. Raises `CallerError` (400) if it is not valid JSON."""
    return parse_foreign_json(body, DEPTH_MAX)


def word_of(value: Any) -> str:
    """Return a provider's word in the form that our tables use: in lower case, without white space around it."""
    return str(value).strip().lower()
