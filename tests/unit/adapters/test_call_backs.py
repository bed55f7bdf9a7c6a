"""A provider's call-back means the same, however its account, a library or a proxy writes it."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.adapters.providers import sendgrid, twilio, vonage
from dispatcher.core.life.receipt import Told
from dispatcher.errors import CallerError

QUERY = {"n": "0-a.0", "t": "token"}
DELIVERED = [Told("0-a.0", "token", carried=True, delivered=True)]
READ: dict[str, Any] = {
    "twilio": twilio.read_call_back,
    "vonage": vonage.read_call_back,
    "sendgrid": sendgrid.read_call_back,
}


def delivered(provider: str, body: bytes, query: dict[str, str] | None = None) -> bool:
    (told,) = READ[provider](QUERY if query is None else query, body)
    return (told, told.delivered) == (DELIVERED[0], True)


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("twilio", b"MessageStatus=delivered"),
        ("twilio", b"MessageStatus=DELIVERED"),
        ("twilio", b"MessageStatus=delivered\r\n"),
        ("twilio", b"\xef\xbb\xbfMessageStatus=delivered%20"),
        ("twilio", b'{"MessageStatus": "delivered"}'),
        ("twilio", b"SmsStatus=delivered"),
        ("twilio", b"SmsStatus=sent&MessageStatus=delivered"),
        ("vonage", b"status=Delivered"),
        ("vonage", b'\xef\xbb\xbf{"status": "delivered"}'),
        ("vonage", b'\r\n [{"status": "DELIVERED "}]\r\n'),
        ("vonage", '{"status": "delivered", "x": "ü"}'.encode("latin-1")),
        ("sendgrid", b'[{"nid": "0-a.0", "ntoken": "token", "event": "delivered"}]'),
        ("sendgrid", b'\xef\xbb\xbf[{"nid": "0-a.0", "ntoken": "token", "event": "Delivered"}]\r\n'),
        ("sendgrid", b'{"nid": "0-a.0", "ntoken": "token", "event": "delivered"}'),
        ("sendgrid", b'[{"custom_args": {"nid": "0-a.0", "ntoken": "token"}, "event": "delivered"}]'),
        ("sendgrid", b'[{"unique_args": {"nid": "0-a.0", "ntoken": "token"}, "event": "delivered"}]'),
        ("sendgrid", b'[{"nid": "0-a.0", "ntoken": "token", "event": "spamreport"}]'),
        ("sendgrid", b'[{"nid": "0-a.0", "ntoken": "token", "event": "group_unsubscribe"}]'),
    ],
)
def test_a_receipt_is_read_however_it_is_written(provider: str, body: bytes) -> None:
    """A receipt counts as delivered in upper and lower case, with a line end or a byte order mark, and as a form or as
    JSON.
    """
    assert delivered(provider, body)


def test_a_receipt_in_the_query_needs_no_body() -> None:
    """A receipt of Vonage is read from the query if the body is empty, because an account may be set to GET."""
    assert delivered("vonage", b"", {**QUERY, "status": "delivered"})


@pytest.mark.parametrize("provider", ["twilio", "vonage"])
@pytest.mark.parametrize("body", [b"", b"a=b", b"{}", b"[]", b"[1]", b'{"status": ["delivered"]}', b"\xef\xbb\xbf"])
def test_a_receipt_without_a_word_tells_nothing(provider: str, body: bytes) -> None:
    """A call-back without a status word tells nothing about the message and is no error.

    Some providers call only to test the address.
    """
    assert [told.carried for told in READ[provider](QUERY, body)] == [None]


@pytest.mark.parametrize("body", [b"{}", b"", b"nid=0-a.0", b'"x"', b"[" * 50])
def test_events_that_are_none_are_refused(body: bytes) -> None:
    """A SendGrid call-back whose body is no list of events raises CallerError.

    SendGrid then shows the owner of its account that the address of the call-back is wrong.
    """
    with pytest.raises(CallerError):
        READ["sendgrid"]({}, body)


def test_mails_of_somebody_else_are_no_receipts_of_ours() -> None:
    """SendGrid events without our ids give no receipts, because one account may send for other programs too."""
    events = b'[{"event": "delivered"}, {"custom_args": [1]}, null, "x", {"unique_args": {"a": 1}}]'
    assert READ["sendgrid"]({}, events) == []
