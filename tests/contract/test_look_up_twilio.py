"""Tests Twilio's status look-up over HTTP: against the sandbox, and against answers that cannot be trusted."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from dispatcher.core.life.look_up import Listing, identify, window_of
from dispatcher.core.life.outcome import OutcomeKind
from dispatcher.core.life.rendered_message import Message
from dispatcher.ports import LooksUp, Vendor
from tests.contract.vendors import SMS, Sandbox, make

CALL_S = 2.0
"""The time-out of a call: on a busy machine a connection alone can take half a second."""

Answering = Callable[[Any], Awaitable[Any]]


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


async def look_up(vendor: Vendor, message: Message = SMS, timeout_s: float = 2.0) -> Listing | None:
    assert isinstance(vendor, LooksUp)
    try:
        return await vendor.look_up(message, wall_ms() - 60_000, timeout_s)
    finally:
        await vendor.close()


@pytest.mark.parametrize("mode", ["hang", "reset", "error", "garbage", "drip"])
async def test_what_arrived_and_was_not_answered_is_found(sandbox: Sandbox, mode: str) -> None:
    """The vendor received a message and gave no valid answer. The look-up finds this message and does not find another
    text.
    """
    vendor, began_ms = sandbox.vendor("twilio"), wall_ms()
    await sandbox.fault("twilio", mode=mode, received=True)
    assert (await vendor.send(SMS, CALL_S)).kind is OutcomeKind.UNKNOWN
    (delivery,) = (await sandbox.received("twilio"))["received"]
    listing = await look_up(vendor)
    assert listing is not None and not listing.more
    verdict = identify(listing, SMS.text, window_of(began_ms, CALL_S), wall_ms())
    assert verdict == ("found", delivery["id"])
    assert identify(listing, "another text", window_of(began_ms, CALL_S), wall_ms()).answer == "not_found"


async def test_what_did_not_arrive_is_not_found(sandbox: Sandbox) -> None:
    """The vendor hangs and never received the message. The vendor's list does not have it, so the look-up's answer is
    `not_found`.
    """
    vendor = sandbox.vendor("twilio")
    await sandbox.fault("twilio", mode="hang")
    assert (await vendor.send(SMS, CALL_S)).kind is OutcomeKind.UNKNOWN
    listing = await look_up(vendor)
    assert listing is not None
    assert identify(listing, SMS.text, window_of(wall_ms() - 3000, CALL_S), wall_ms()).answer == "not_found"


async def test_other_recipients_are_not_in_the_list(sandbox: Sandbox) -> None:
    """The vendor has more messages than one page, and one of them is to another recipient. The look-up returns the
    newest messages to the recipient it asks about, the newest first, and says that the vendor has more.

    A plus sign and an umlaut arrive unchanged.
    """
    vendor = sandbox.vendor("twilio")
    other = Message("0-b.0", "k", "sms", "+4915112345679", SMS.text)
    for message in [other, *[SMS] * 25]:
        await vendor.send(message, 2.0)
    ids = [r["id"] for r in (await sandbox.received("twilio"))["received"]]
    listing = await look_up(vendor)
    assert listing is not None and listing.more
    assert [one.message_id for one in listing.sightings] == ids[:5:-1]
    assert {one.text for one in listing.sightings} == {SMS.text}
    assert listing.vendor_ms is not None
    assert all(abs(one.at_ms - wall_ms()) < 5000 for one in listing.sightings)


async def test_only_twilio_can_be_asked() -> None:
    """Only the Twilio adapter offers a look-up. Held messages of the other vendors wait for a receipt or their
    deadline.
    """
    able = {name for name in ("twilio", "vonage", "sendgrid", "smtp") if isinstance(make(name, "http://x"), LooksUp)}
    assert able == {"twilio"}


# ---- answers


@pytest.fixture
async def answering() -> AsyncIterator[Answering]:
    """Yield a function that looks up a message at a server. The server gives the answer that the test passes to the
    function.

    The server also checks the query and the credentials of the look-up.
    """
    given: dict[str, Any] = {}

    async def answer(request: web.BaseRequest) -> web.Response:
        assert request.method == "GET"
        assert set(request.query) == {"To", "From", "DateSent>", "PageSize"}
        assert request.headers["Authorization"].startswith("Basic ")
        return web.Response(**given)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()

    async def ask(**response: Any) -> Listing | None:
        given.clear()
        given.update(response)
        return await look_up(make("twilio", f"http://127.0.0.1:{runner.addresses[0][1]}"))

    yield ask
    await runner.cleanup()


ROW = {"sid": "SM1", "body": "Hi", "status": "sent", "date_created": "Mon, 20 Nov 2023 05:01:45 +0000"}


def page(**changes: Any) -> str:
    return web.json_response({"messages": [{**ROW, **changes}], "next_page_uri": None}).text or ""


@pytest.mark.parametrize(
    ("status", "taken"),
    [("queued", True), ("delivered", True), ("undelivered", False), ("failed", False), ("received", None)],
)
async def test_each_status_is_a_yes_a_no_or_nothing(answering: Answering, status: str, taken: bool | None) -> None:
    """A queued or delivered message counts as carried, a failed one as not carried, and an unknown status as
    neither.
    """
    listing = await answering(text=page(status=status))
    (one,) = listing.sightings
    assert (one.message_id, one.text, one.at_ms, one.carried) == ("SM1", "Hi", 1_700_456_505_000, taken)


@pytest.mark.parametrize(
    "response",
    [
        {"status": 500, "text": page()},
        {"status": 429, "text": page()},
        {"status": 401, "text": '{"code": 20003}'},
        {"status": 302, "headers": {"Location": "/elsewhere"}},
        {"text": "<html>"},
        {"text": "[]"},
        {"text": '{"messages": {}}'},
        {"text": '{"messages": [null]}'},
        {"text": page(date_created="yesterday")},
        {"text": page(date_created=None)},
        {"text": page(body="x" * 70_000)},
    ],
)
async def test_an_answer_that_cannot_be_read_is_none(answering: Answering, response: dict[str, Any]) -> None:
    """If the answer is an error, is not valid or is too large, the look-up returns None."""
    assert await answering(**response) is None


async def test_no_answer_is_none() -> None:
    """If nothing listens at the address, the look-up returns None."""
    assert await look_up(make("twilio", "http://127.0.0.1:1")) is None


async def test_the_sandbox_refuses_a_fault_that_cannot_be(sandbox: Sandbox) -> None:
    """The sandbox refuses a fault with `received` if the mode rejects the message, or if the value is no boolean."""
    assert await sandbox.fault("twilio", mode="reject", received=True) == 422
    assert await sandbox.fault("twilio", mode="hang", received="yes") == 422
