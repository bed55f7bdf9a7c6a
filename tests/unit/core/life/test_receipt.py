"""A receipt is matched to its notification, believed or refused, and may change the notification's state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.adapters.providers.receipts import read_receipts
from dispatcher.core.life.notification import CallMark, State
from dispatcher.core.life.receipt import ReceiptLinks, Told, decide_receipt
from dispatcher.errors import CallerError

LINKS = ReceiptLinks("https://shop.example/notify/", "secret")
QUERY = {"n": "0-abc.0", "t": "token"}


def test_a_link_leads_back_to_its_notification() -> None:
    """A receipt link lies below the public address and has the notification's id and a token in its query.

    `verified` accepts the token.
    """
    link = LINKS.link("sms-a", "0-abc.0")
    parts = urlsplit(link.url)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == "https://shop.example/notify/v1/receipts/sms-a"
    query = dict(parse_qsl(parts.query))
    assert query == {"n": "0-abc.0", "t": link.token, "c": link.call}
    assert LINKS.verified("sms-a", Told(query["n"], query["t"], True))


def test_a_link_tells_which_call_it_is_about() -> None:
    """The mark of the call is signed, for its notification and vendor. A mark that is not ours, or missing, counts as
    unknown.
    """
    mark = CallMark(2, 1)
    call = LINKS.link("sms-a", "0-abc.0", mark).call

    def found(text: str, nid: str = "0-abc.0", vendor: str = "sms-a") -> CallMark | None:
        return LINKS.call_of(vendor, Told(nid, "", True, call=text))

    assert found(call) == mark
    others = ("", "0.0", call.replace("2.1", "2.2", 1), call[:-1], f"{call}0", "².1." + "0" * 16)
    assert [found(text) for text in others] == [None] * len(others)
    assert found(call, nid="0-abc.1") is None and found(call, vendor="sms-b") is None


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_a_token_is_good_for_one_notification_of_one_vendor(vendor: str, nid: str, token: str) -> None:
    """A token is refused for another notification, another vendor or another secret, and so is a guessed token."""
    good = LINKS.link("sms-a", "0-abc.0").token
    assert not LINKS.verified("sms-a", Told("0-abc.0", token, True)) or token == good
    if nid != "0-abc.0":
        assert not LINKS.verified("sms-a", Told(nid, good, True))
    if vendor != "sms-a":
        assert not LINKS.verified(vendor, Told("0-abc.0", good, True))
    assert not ReceiptLinks("https://shop.example", "other").verified("sms-a", Told("0-abc.0", good, True))


@pytest.mark.parametrize(
    ("adapter", "query", "body", "taken"),
    [
        ("twilio", QUERY, b"MessageSid=SM1&MessageStatus=delivered", True),
        ("twilio", QUERY, b"MessageSid=SM1&MessageStatus=undelivered&ErrorCode=30003", False),
        ("twilio", QUERY, b"MessageSid=SM1&MessageStatus=queued", None),
        ("twilio", QUERY, b"", None),
        ("vonage", QUERY, b'{"messageId": "0A", "status": "delivered"}', True),
        ("vonage", QUERY, b"messageId=0A&status=expired", False),
        ("vonage", {**QUERY, "status": "failed"}, b"", False),
        ("vonage", QUERY, b'{"status": "buffered"}', None),
        ("sendgrid", {}, b'[{"event": "delivered", "nid": "0-abc.0", "ntoken": "token"}]', True),
        ("sendgrid", {}, b'[{"event": "bounce", "nid": "0-abc.0", "ntoken": "token"}]', False),
        ("sendgrid", {}, b'[{"event": "deferred", "nid": "0-abc.0", "ntoken": "token"}]', None),
    ],
)
def test_each_providers_word_is_read(adapter: str, query: Mapping[str, str], body: bytes, taken: bool | None) -> None:
    """Each provider's receipt is read as delivered (True), not delivered (False) or not final (None)."""
    assert read_receipts(adapter, query, body) == [Told("0-abc.0", "token", taken)]


def test_events_of_other_messages_of_the_account_are_passed_over() -> None:
    """SendGrid posts the events of a whole account to one address. Events without a notification id of ours (`nid`) are
    left out.
    """
    events = [{"event": "delivered", "email": "x@example.com"}, "noise", {"event": "open", "nid": "0-a.1"}]
    assert read_receipts("sendgrid", {}, json.dumps(events).encode()) == [Told("0-a.1", "", True)]


@pytest.mark.parametrize(
    ("adapter", "query", "body", "field"),
    [
        ("twilio", {"n": "0-abc.0"}, b"MessageStatus=delivered", "t"),
        ("vonage", {"t": "token"}, b"status=delivered", "n"),
        ("vonage", QUERY, b"{nonsense", "body"),
        ("sendgrid", {}, b"nonsense", "body"),
        ("sendgrid", {}, b'{"event": "delivered"}', "body"),
        ("smtp", QUERY, b"", "vendor"),
    ],
)
def test_what_is_no_receipt_is_refused_by_name(adapter: str, query: Mapping[str, str], body: bytes, field: str) -> None:
    """A call-back that is not a valid receipt raises CallerError with the field at fault."""
    with pytest.raises(CallerError) as caught:
        read_receipts(adapter, query, body)
    assert caught.value.field == field


def test_a_no_ends_only_what_is_held() -> None:
    """The receipt `undelivered` ends only a held notification.

    The receipt `delivered` settles every notification that may still be sent.
    """
    yes = {state for state in State if decide_receipt(True, state) == ("settled", "receipt")}
    no = {state for state in State if decide_receipt(False, state) == ("dead", "undelivered")}
    assert yes == {State.QUEUED, State.STARTED, State.DUE, State.HELD}
    assert no == {State.HELD}
    assert all(decide_receipt(None, state) is None for state in State)
