"""Tests the fields of the requests that the SMS adapters send."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from dispatcher.adapters.providers import build
from dispatcher.adapters.providers.receipts import read_receipts
from dispatcher.core.life.notification import CallMark
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.life.receipt import ReceiptLinks
from dispatcher.core.life.rendered_message import Message
from tests.contract.vendors import LONGEST, SMS, send

TWILIO = {"account_sid": "AC1", "auth_token": "t", "sender": "+4915112345678"}
VONAGE = {"api_key": "abcd1234", "api_secret": "secret1", "sender": "Shop"}


class Post:
    """Replaces the HTTP client and keeps the request."""

    async def post_form(self, url: str, timeout_s: float, form: Any, headers: Any = None) -> Outcome:
        self.url, self.form, self.headers = url, form, headers
        return Outcome.unknown("test")

    async def close(self) -> None:
        return


async def posted(adapter: str, message: Message = SMS, **options: Any) -> Post:
    given = TWILIO if adapter == "twilio" else VONAGE
    vendor: Any = build(adapter, "v", "sms", {**given, **options})
    vendor._http = post = Post()
    await send(vendor, message)
    return post


@pytest.mark.parametrize(
    ("text", "kind"),
    [("Grüße, 5 €", None), ("[a|b]", None), ("a`b", "unicode"), ("Привет", "unicode"), ("façade", "unicode")],
)
async def test_vonage_is_told_the_encoding_that_the_text_needs(text: str, kind: str | None) -> None:
    """Vonage is asked for `unicode` only if the text has a character outside GSM 03.38.

    If such a text were sent as plain text, the character would be lost. If a text in GSM 03.38 were sent as unicode, it
    could cost up to three times as much.
    """
    assert (await posted("vonage", replace(SMS, text=text))).form.get("type") == kind


@pytest.mark.parametrize(
    ("left_s", "validity", "ttl"),
    [
        (None, None, None),
        (300.0, "300", "300000"),
        (0.4, "1", "20000"),
        (36_000.0, None, "36000000"),
        (1e6, None, "604800000"),
    ],
)
async def test_the_time_to_live_is_handed_on(left_s: float | None, validity: str | None, ttl: str | None) -> None:
    """The remaining lifetime of a message is sent to Twilio and Vonage, within their limits.

    Without it Twilio tries for 10 hours and Vonage for 72 hours.
    """
    message = replace(SMS, expires_in_s=left_s)
    assert (await posted("twilio", message)).form.get("ValidityPeriod") == validity
    assert (await posted("vonage", message)).form.get("ttl") == ttl


async def test_a_twilio_api_key_logs_in_for_its_account() -> None:
    """With a Twilio API key, the key is the user name, and the account id stays in the path."""
    post = await posted("twilio", auth_token=None, api_key="SK1", api_key_secret="s")
    assert post.headers["Authorization"] == f"Basic {b64encode(b'SK1:s').decode()}"
    assert post.url.endswith("/Accounts/AC1/Messages.json")


async def test_vonage_gets_our_reference_and_the_regulators_ids() -> None:
    """Vonage gets the notification's id as reference, by which its reports show it, and the ids that India requires
    (DLT).
    """
    form = (await posted("vonage", entity_id="1101", content_id="1107")).form
    assert (form["client-ref"], form["entity-id"], form["content-id"]) == (SMS.notification_id, "1101", "1107")
    assert not {"entity-id", "content-id"} & set((await posted("vonage")).form)


async def test_a_receipt_is_asked_for_with_a_boolean() -> None:
    """A receipt is asked for by the field `status-report-req: true`. Vonage's description says that this field is a
    boolean.
    """
    links = ReceiptLinks("https://shop.example.com", "secret")
    message = replace(SMS, receipt=links.link("v", SMS.notification_id))
    assert (await posted("vonage", message)).form["status-report-req"] == "true"


async def test_twilio_is_asked_to_repeat_a_receipt() -> None:
    """The call-back address for Twilio ends with `#rc=5&rp=all`, which asks Twilio to repeat a receipt.

    By default Twilio repeats no receipt that was answered, not even with 503. Twilio takes the text after the `#` as
    its instruction, and does not send it to us.
    """
    link = ReceiptLinks("https://shop.example.com", "secret").link("v", SMS.notification_id)
    form = (await posted("twilio", replace(SMS, receipt=link))).form
    assert form["StatusCallback"] == f"{link.url}#rc=5&rp=all"


async def test_a_receipt_of_vonage_fits_into_its_limits() -> None:
    """Vonage takes at most 100 characters of a call-back address (status 23) and of a reference (22). The id, the token
    and the call's mark of the longest id are in the reference, and only the address in the call-back. The receipt
    repeats the reference, and is read.
    """
    links = ReceiptLinks("https://notifications.shop.example.com", "secret")
    link = links.link("sms-vonage-second", LONGEST, CallMark(12, 15))
    form = (await posted("vonage", replace(SMS, notification_id=LONGEST, receipt=link))).form
    assert form["callback"] == "https://notifications.shop.example.com/v1/receipts/sms-vonage-second"
    assert max(len(form["callback"]), len(form["client-ref"])) <= 100
    (told,) = read_receipts("vonage", {}, urlencode({"client-ref": form["client-ref"], "status": "accepted"}).encode())
    assert told.notification_id == LONGEST and links.verified("sms-vonage-second", told)
    assert links.call_of("sms-vonage-second", told) == CallMark(12, 15)


async def test_a_receipt_for_a_call_of_an_earlier_version_is_read() -> None:
    """The version before put the id and the token into the query of the call-back. The reference was the id alone."""
    query = {"n": "0-a.0", "t": "token", "client-ref": "0-a.0", "status": "delivered"}
    (told,) = read_receipts("vonage", query, b"")
    assert (told.notification_id, told.token, told.call) == ("0-a.0", "token", "")
