"""Checks answers that a provider's description does not list: what each answer proves, and what it does not prove."""

from __future__ import annotations

import asyncio
import json
import time
from email.utils import formatdate
from typing import Any
from unittest.mock import AsyncMock

import pytest
from pydantic import SecretStr

from dispatcher.adapters.providers import sendgrid, smtp_words, twilio, vonage
from dispatcher.adapters.providers.http import Answer, read_object, retry_after_s
from dispatcher.adapters.providers.twilio import TwilioOptions
from dispatcher.core.life.outcome import DAILY_S, Meaning, Outcome, OutcomeKind, Scope
from dispatcher.core.life.rendered_message import Message

CLASSIFY = {"twilio": twilio.classify, "vonage": vonage.classify, "sendgrid": sendgrid.classify}
SID = "SM" + "a" * 32
DEEP = b"[" * 60_000


def answered(provider: str, status: int, body: Any = b"", **headers: str) -> Outcome:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CLASSIFY[provider](Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw))


@pytest.mark.parametrize("provider", CLASSIFY)
@pytest.mark.parametrize("body", [b"", b"<html>Request blocked</html>", b"{}", DEEP, b'{"errors": []}', b"\xff\xfe{"])
@pytest.mark.parametrize("status", [400, 406, 413, 414, 422, 451])
def test_a_stranger_who_refuses_one_text_is_no_evidence_against_the_provider(
    provider: str, body: bytes, status: int
) -> None:
    """A 4xx answer without the provider's own format, such as that of a firewall, has the scope UNLISTED.

    So the next vendor gets the message, and no breaker opens.
    """
    outcome = answered(provider, status, body)
    assert (outcome.kind, outcome.scope) == (OutcomeKind.FAILED, Scope.UNLISTED)
    assert outcome.answered, "operators' rules can say what it means"


OWN = {
    "twilio": {"status": 403, "message": "Permission denied"},
    "vonage": {"title": "Forbidden", "detail": "no"},
    "sendgrid": {"errors": [{"message": "access forbidden", "field": None}]},
}
STRANGERS: list[Any] = [
    b"<html>blocked</html>",
    {"message": "Forbidden"},  # a gateway of Amazon
    {"success": False, "errors": [{"code": 1020}]},  # Cloudflare
    {"error": "blocked by policy", "code": "WAF"},
    {"errors": "no"},
]


@pytest.mark.parametrize("provider", CLASSIFY)
def test_403_is_the_accounts_only_in_the_providers_own_form(provider: str) -> None:
    """A 403 is a refusal of our account only if its body has the provider's own form.

    In any other form, such as a gateway's, it is an unlisted refusal. A 401 is a refusal of our account in any form.
    """
    assert answered(provider, 403, OWN[provider]).scope is Scope.ACCOUNT
    assert answered(provider, 401, b"<html>log in</html>").scope is Scope.ACCOUNT
    for stranger in STRANGERS:
        assert answered(provider, 403, stranger).scope is Scope.UNLISTED


@pytest.mark.parametrize("status", [None, True, "", "zero", "0x0", "-0", [], {}, 0.5, "99999"])
def test_a_status_that_is_no_number_refuses_nothing(status: Any) -> None:
    """A message status that is not a number gives the outcome unknown, because the vendor may have the message."""
    assert answered("vonage", 200, {"messages": [{"status": status, "message-id": "m"}]}).kind is OutcomeKind.UNKNOWN


@pytest.mark.parametrize("status", ["0", 0, 0.0, "00", " 0\n"])
def test_a_status_is_read_however_it_is_written(status: Any) -> None:
    """Vonage's status 0 means accepted, whether it is written as text, as a number or with spaces."""
    assert answered("vonage", 200, {"messages": [{"status": status, "message-id": "m"}]}).vendor_message_id == "m"


def test_a_rate_never_ends_a_message() -> None:
    """A 429 never rejects a message for good, whatever code is in its body."""
    assert answered("twilio", 429, {"code": 21211}).kind is OutcomeKind.THROTTLED
    assert answered("twilio", 429, {"code": 63038}).scope is Scope.ACCOUNT


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [
        *(("120, 120", 120.0), ("120s", 120.0), ("120 seconds", 120.0), ("1.5", 1.5), ("-5", 0.0), ("1e9", 300.0)),
        *(("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None), ("nan", None), ("1.2.3s", None), ("s", None)),
    ],
)
def test_a_wait_is_read_however_it_is_written(wait: str, seconds: float | None) -> None:
    """The wait in `Retry-After` is read in seconds: also from two headers that were joined, from a number with a unit,
    and from a date that is past. Any other text gives None.
    """
    assert answered("twilio", 429, {"code": 20429}, Retry_After=wait).retry_after_s == seconds


@pytest.mark.parametrize("provider", CLASSIFY)
@pytest.mark.parametrize("status", [302, 307, 404, 405, 408])
def test_a_wrong_address_befalls_every_message(provider: str, status: int) -> None:
    assert answered(provider, status, b"<html>").scope is Scope.VENDOR
    assert answered(provider, status, b"<html>").kind is OutcomeKind.FAILED, "nothing was accepted"


@pytest.mark.parametrize("provider", CLASSIFY)
def test_a_wait_is_heeded_whoever_asks_for_it(provider: str) -> None:
    outcome = answered(provider, 429, b"<html>slow down</html>", Retry_After="7")
    assert (outcome.kind, outcome.retry_after_s) == (OutcomeKind.THROTTLED, 7.0)


@pytest.mark.parametrize("wait", ["0", "1", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_daily_limit_is_not_over_in_a_second(wait: str) -> None:
    outcome = answered("twilio", 429, {"code": 63038}, Retry_After=wait)
    assert (outcome.scope, outcome.retry_after_s) == (Scope.ACCOUNT, DAILY_S)


@pytest.mark.parametrize(
    "body", [DEEP, b'{"a":' * 9_000, b"9" * 5_000, b"\xff", b"", b"null", b'{"code":' + b"9" * 5_000]
)
def test_nothing_that_a_server_answers_raises(body: bytes) -> None:
    assert read_object(body) == {}
    for provider in CLASSIFY:
        for status in (200, 201, 202):
            assert answered(provider, status, body).kind in (OutcomeKind.UNKNOWN, OutcomeKind.ACCEPTED)


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"code": 21211}',
        b'{"code": "21211"}',
        b'{"code": 21211, "message": "caf\xe9"}',
        b'{"code": 21211, "message": "\\ud800"}',
    ],
)
def test_a_code_counts_however_it_is_written(body: bytes) -> None:
    """An answer of Twilio has an error code. The code is read if the body begins with a byte order mark, if the code is
    written as a text, and if the body has bytes or characters that are not valid Unicode.
    """
    assert answered("twilio", 400, body) == Outcome.rejected("twilio_21211", Scope.RECIPIENT)


@pytest.mark.parametrize("code", [True, -1, 21211.0, None, "", "2121l", [], {}])
def test_what_is_no_code_is_none(code: Any) -> None:
    assert answered("twilio", 400, {"code": code}) == Outcome.failed("http_400", scope=Scope.UNLISTED)


@pytest.mark.parametrize("status", ["failed", "undelivered", "canceled"])
def test_a_message_that_is_created_and_refused_at_once_goes_by_its_code(status: str) -> None:
    """If Twilio answers 201 with the status `failed`, the outcome follows from the error code.

    Without a code the outcome is unknown.
    """
    refused = {"sid": SID, "status": status, "error_code": 21408, "error_message": "no permission"}
    assert answered("twilio", 201, refused) == Outcome.failed("twilio_21408", scope=Scope.ROUTE)
    assert answered("twilio", 201, {**refused, "error_code": None}) == Outcome.unknown("no_message_id")
    assert answered("twilio", 201, {"sid": SID, "status": "queued", "error_code": None}) == Outcome.accepted(SID)


def test_parts_that_are_all_refused_end_a_message_only_together() -> None:
    def told(*statuses: str) -> Outcome:
        return answered("vonage", 200, {"messages": [{"status": status, "error-text": "no"} for status in statuses]})

    assert told("7", "7").kind is OutcomeKind.REJECTED
    assert told("7", "1").kind is OutcomeKind.THROTTLED
    assert told("7", "5").kind is OutcomeKind.UNKNOWN, "Vonage may have the second part"


@pytest.mark.parametrize("wrong_s", [-36_000, 0, 7_200], ids=["behind", "right", "ahead"])
def test_a_date_to_wait_for_is_by_the_vendors_clock(wrong_s: int) -> None:
    """A vendor answers with a date until which to wait, and with its own time. The wait is the difference between the
    two, however wrong our clock is.

    With our clock, the wait would have been over at once, or would have lasted five minutes. If the vendor's time
    cannot be read, our clock is used.
    """
    dates = {"Retry-After": formatdate(1_700_000_060, usegmt=True), "Date": formatdate(1_700_000_000, usegmt=True)}
    assert retry_after_s(dates, 1_700_000_000 + wrong_s) == 60.0
    assert retry_after_s({**dates, "Date": "yesterday"}, 1_700_000_000) == 60.0


@pytest.mark.parametrize("provider", CLASSIFY)
def test_a_payment_that_is_required_is_the_accounts(provider: str) -> None:
    """A 402 is a refusal of our account in any form, because payment never depends on a single message."""
    assert answered(provider, 402, b"<html>Payment Required</html>").scope is Scope.ACCOUNT


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Auckland"])
def test_a_date_without_a_zone_is_utc(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A date in `Retry-After` that names no time zone is read as UTC, whatever the time zone of this machine is."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for date in ("Thu Jan  1 00:01:40 1970", "Thursday, 01-Jan-70 00:01:40 GMT", formatdate(100)):
            assert retry_after_s({"Retry-After": date}, 40.0) == 60.0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("code", "text", "means"),
    [
        (554, "Host 5.1.1.7 is listed at zen.spamhaus.org", Meaning.UNLISTED),
        (550, "rejected by version 5.2.1.3 of the filter", Meaning.UNLISTED),
        (550, "see 5.1.1 of our policy", Meaning.UNLISTED),
        (550, "#5.1.1 <ada@example.com> unknown", Meaning.FINAL),
        (550, "5.1.1\nThe account does not exist", Meaning.FINAL),
        (450, "5.1.1 not now", Meaning.DEFERRED),
        (550, "4.2.2 full", Meaning.UNLISTED),
        (451, "Greylisted, please try again in 300 seconds", Meaning.DEFERRED),
        (450, "You are graylisted", Meaning.DEFERRED),
        (550, "5.7.1 The recipient's daily message limit is exceeded", Meaning.DEFERRED),
        (554, "5.2.122 The recipient has exceeded the limit of messages for each hour", Meaning.DEFERRED),
        (550, "5.1.90 You've reached your daily limit for message recipients", Meaning.ACCOUNT),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_the_code_at_the_beginning_of_a_reply_counts_and_no_other(
    code: int, text: str, means: Meaning, named: bool
) -> None:
    """Only a status code at the beginning of an SMTP reply counts, since IP addresses and versions look like codes.

    A code of another class than the reply proves nothing.
    """
    assert smtp_words.meaning_of(code, text, mailed=True, named=named).means is (
        Meaning.VENDOR if named and text == "5.1.1 not now" else means
    )


@pytest.mark.parametrize(
    ("sender", "scope"),
    [("12345", Scope.ROUTE), ("+15005550006", Scope.ACCOUNT), ("Shop", Scope.ACCOUNT)],
    ids=["a short code", "a number", "a name"],
)
def test_a_short_code_that_may_not_reach_a_country_is_no_fault_of_the_account(sender: str, scope: Scope) -> None:
    """Twilio answers with code 21659, and the sender is a short code. A short code may not reach every country, so the
    answer concerns only this recipient's country.

    For any other sender the answer concerns the account, because 21659 then means the same as 21606.
    """
    refusal = Answer(400, {}, b'{"code": 21659, "message": "not a Twilio phone number", "status": 400}')
    vendor = twilio.Twilio("t", "sms", TwilioOptions(account_sid="AC1", auth_token=SecretStr("s"), sender=sender))
    vendor._http.post_form = AsyncMock(return_value=refusal)  # type: ignore[method-assign]
    message = Message(notification_id="n1", idempotency_key="n1:1:t", channel="sms", to="+491601234567", text="Hi")
    outcome = asyncio.run(vendor.send(message, 1.0))
    assert (outcome.kind, outcome.scope) == (OutcomeKind.FAILED, scope)
