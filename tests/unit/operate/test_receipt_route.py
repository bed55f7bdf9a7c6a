"""The route `/v1/receipts/{vendor}` needs no API key and accepts only bounded requests."""

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from dispatcher.adapters.providers.receipts import read_receipts
from dispatcher.config.settings import LimitsSettings
from dispatcher.core.life.receipt import ReceiptLinks
from dispatcher.core.life.trigger_view import NotificationView, TriggerView
from dispatcher.operate.receipts import Receipts
from dispatcher.operate.use_cases import UseCases
from dispatcher.ports import Withdrawal, WithdrawResult
from dispatcher.telemetry.metrics import Metrics
from serve_app.asgi import application

LINKS = ReceiptLinks("https://shop.example", "secret")
NID = "0-abc.0"


class Refusing:
    """An API key check that grants no key."""

    required = True

    def grant(self, header: str | None) -> None:
        return None


class Stage:
    """A stand for tests: one held notification behind the real HTTP application.

    `ended` lists each withdrawal as (id, new state, reason).
    """

    def __init__(self, configured: bool = True) -> None:
        self.ended: list[tuple[str, str, str]] = []

        async def withdraw(nid: str, to: str, reason: str, **_: Any) -> Withdrawal:
            self.ended.append((nid, to, reason))
            return Withdrawal(WithdrawResult.DONE)

        async def view(tid: str) -> TriggerView | None:
            found = NotificationView(NID, "sms", "sms-a", "held", None, ())
            return TriggerView(tid, "default", "e", 0, 0, "h", (found,)) if tid == "0-abc" else None

        readers = {"sms-a": partial(read_receipts, "twilio"), "email-b": partial(read_receipts, "smtp")}
        store: Any = SimpleNamespace(withdraw=withdraw)
        views: Any = SimpleNamespace(trigger=view)
        receipts = Receipts(LINKS, store, views, Metrics(), readers=readers) if configured else None
        asked: Any = SimpleNamespace(**{**dict.fromkeys(UseCases.__slots__), "limits": LimitsSettings()})
        asked.receipts = receipts
        asked.probes = SimpleNamespace(replica=SimpleNamespace(installation=""))
        self.app = application(asked, Refusing(), Metrics())  # type: ignore[arg-type]

    async def call(self, path: str, query: str = "", body: bytes = b"", method: str = "POST") -> tuple[int, Any]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": query.encode(),
            "headers": [(b"content-type", b"application/x-www-form-urlencoded")],
        }
        await self.app(scope, receive, send)
        return sent[0]["status"], json.loads(b"".join(part.get("body", b"") for part in sent[1:]))


def query() -> str:
    return LINKS.link("sms-a", NID).url.partition("?")[2]


async def test_a_receipt_needs_no_api_key_and_everything_else_does() -> None:
    """A receipt with the token of its message settles it without an API key. Any other route answers 401."""
    stage = Stage()
    assert await stage.call("/v1/receipts/sms-a", query(), b"MessageStatus=delivered") == (
        200,
        {"results": {"settled": 1}},
    )
    assert stage.ended == [(NID, "settled", "receipt")]
    assert (await stage.call("/v1/vendors", method="GET"))[0] == 401


@pytest.mark.parametrize(
    ("path", "query_of", "body", "status"),
    [
        ("/v1/receipts/sms-a", "n=0-abc.0&t=guessed", b"MessageStatus=delivered", 403),
        ("/v1/receipts/sms-a", "", b"MessageStatus=delivered", 400),
        ("/v1/receipts/sms-a", None, b"x" * 1_048_577, 413),
        ("/v1/receipts/sms-z", None, b"MessageStatus=delivered", 404),
        ("/v1/receipts/email-b", None, b"", 404),
    ],
)
async def test_what_is_not_to_be_believed_changes_nothing(
    path: str, query_of: str | None, body: bytes, status: int
) -> None:
    """A receipt is refused and changes nothing if it is forged, has no token or is too large.

    The same holds if its vendor is unknown or sends no receipts.
    """
    stage = Stage()
    assert (await stage.call(path, query() if query_of is None else query_of, body))[0] == status
    assert stage.ended == []


async def test_without_a_secret_there_are_no_receipts() -> None:
    """Without a configured secret the route answers 404, because no vendor was ever given a token."""
    assert (await Stage(configured=False).call("/v1/receipts/sms-a", query(), b"MessageStatus=delivered"))[0] == 404
