"""The work of every peer for one message: it renders a template, posts a form, and reads the id in the answer.

The template is plain Jinja without our sandbox, because other users would not have the sandbox.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import jinja2

TEXT = "Hi {{ name }}, we received {{ total }} {{ currency }} for order {{ order }}. Thank you!"
SENDER = "+4915112345678"
HEADERS = {
    "Authorization": f"Basic {b64encode(b'ACsandbox:sandbox').decode()}",
    "Content-Type": "application/x-www-form-urlencoded",
}
CONCURRENCY = 64
TIMEOUT_S = 10.0
_TEMPLATE = jinja2.Environment(autoescape=False, undefined=jinja2.StrictUndefined).from_string(TEXT)  # text, not HTML


def url() -> str:
    return os.environ["SANDBOX_URL"] + "/sms-a/2010-04-01/Accounts/ACsandbox/Messages.json"


def socket() -> str:
    """Return the path of Redis's Unix socket."""
    return os.environ["BENCHMARK_REDIS"]


def body(to: str, data: Mapping[str, Any]) -> bytes:
    return urlencode({"To": to, "From": SENDER, "Body": _TEMPLATE.render(data)}).encode()


def check(status: int, answer: bytes) -> str:
    """Return the vendor's message id. Raises ValueError if the vendor did not accept the message."""
    if status != 201:
        raise ValueError(f"status {status}")
    return str(json.loads(answer)["sid"])


def messages(count: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield `count` pairs of a recipient's number and the data for the template."""
    for n in range(count):
        yield (
            f"+49151{10_000_000 + n}",
            {"order": f"N{n:06d}", "total": f"{n % 90 + 9}.90", "currency": "EUR", "name": f"Ada {n}"},
        )
