"""The body of a trigger is checked field by field. An error names the field and the rule, and repeats no value."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from dispatcher.errors import CallerError
from dispatcher.wire.problem_details import Problem
from dispatcher.wire.trigger import body_hash, parse_trigger, phone_region
from dispatcher.wire.trigger_responses import AcceptedNotification, AcceptedResponse

NOW_MS = 1_900_000_000_000
EXAMPLE: dict[str, Any] = {
    "event": "checkout.completed",
    "recipient": {"id": "cust-42", "email": "ada@example.com", "phone": "+4915112345678", "locale": "de-DE"},
    "data": {"order": "1234", "total": "49.90", "currency": "EUR", "name": "Ada"},
    "priority": "normal",
    "expires_in_s": 3600,
    "send_at": None,
    "on_unknown": "resend",
}


def changed(path: str, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(EXAMPLE)
    *parents, last = path.split("/")
    at = data
    for part in parents:
        at = at[part]
    at[last] = value
    return data


def test_the_documented_example_is_accepted() -> None:
    """The documented example of a trigger is accepted and read as meant."""
    request = parse_trigger(EXAMPLE, NOW_MS)
    assert request.recipient.phone == "+4915112345678"
    assert request.expires_in_s == 3600
    assert request.send_at_ms is None


def test_event_and_recipient_are_enough() -> None:
    """A trigger with only event and recipient is accepted.

    The other fields are None, so that the event's settings apply.
    """
    request = parse_trigger({"event": "x", "recipient": {}}, NOW_MS)
    assert (request.priority, request.on_unknown, request.expires_in_s, request.data) == (None, None, None, {})


LISTED = {"channel": "sms", "template": "paid"}


@pytest.mark.parametrize(
    ("path", "value", "field", "rule"),
    [
        ("event", 7, "event", "must be a string"),
        ("event", "", "event", "letters, digits"),
        ("evnt", "x", "evnt", "not a known field"),
        ("recipient", None, "recipient", "JSON object"),
        ("recipient/email", "ada", "recipient.email", "one bare e-mail address"),
        ("recipient/phone", "015112345678", "recipient.phone", "E.164"),
        ("recipient/fax", "1", "recipient.fax", "not a known field"),
        ("recipient/id", "a\nb", "recipient.id", "control characters"),
        ("recipient/id", "x" * 129, "recipient.id", "at most 128"),
        ("recipient/locale", 7, "recipient.locale", "must be a string"),
        ("recipient/time_zone", "../../etc/passwd", "recipient.time_zone", "time zone"),
        ("data", [], "data", "JSON object"),
        ("data/a", {"b": ["\x00"]}, "data", "control characters"),
        ("data/a", {"b\n": 1}, "data", "keys"),
        ("data/a", "\ud800", "data", "control characters"),
        ("priority", "urgent", "priority", "'high', 'normal' or 'bulk'"),
        ("expires_in_s", 0, "expires_in_s", "at least 1"),
        ("expires_in_s", 604_801, "expires_in_s", "at most 604800"),
        ("expires_in_s", "3600", "expires_in_s", "whole number"),
        ("expires_in_s", True, "expires_in_s", "whole number"),
        ("send_at", "tomorrow", "send_at", "ISO 8601"),
        ("send_at", "2030-01-31T09:00:00", "send_at", "offset"),
        ("send_at", "2030-02-31T09:00:00Z", "send_at", "ISO 8601"),
        ("send_at", "0001-01-01T00:00:00+23:00", "send_at", "ISO 8601"),
        ("send_at", 1_900_000_000, "send_at", "ISO 8601"),
        ("send_at", "2030-03-17T17:45:39Z", "send_at", "must not be more than 60 s in the past"),
        ("on_unknown", "drop", "on_unknown", "'resend' or 'hold'"),
        ("idempotency_key", "", "idempotency_key", "1 to 255 printable"),
        ("idempotency_key", "x" * 256, "idempotency_key", "1 to 255 printable"),
        ("idempotency_key", "schlüssel", "idempotency_key", "printable ASCII"),
        ("idempotency_key", "a\n", "idempotency_key", "printable ASCII"),
        ("notifications", [], "notifications", "at least 1 items"),
        ("notifications", [LISTED] * 21, "notifications", "at most 20 items"),
        ("notifications", [LISTED, {"channel": "fax"}], "notifications.1.channel", "'sms'"),
        ("notifications", [{"channel": "sms"}], "notifications.0", "either template or content"),
        ("notifications", [{**LISTED, "content": {"text": "x"}}], "notifications.0", "either template or content"),
        (
            "notifications",
            [{"channel": "email", "content": {"text": "x"}}],
            "notifications.0.content.subject",
            "e-mail",
        ),
        (
            "notifications",
            [{"channel": "email", "content": {"subject": "a\r\nBcc: x", "text": "x"}}],
            "notifications.0.content.subject",
            "line ends",
        ),
    ],
)
def test_an_error_names_the_field_and_the_rule(path: str, value: Any, field: str, rule: str) -> None:
    """The first fault raises an error with status 422, the field as a dotted path, and the rule."""
    with pytest.raises(CallerError) as caught:
        parse_trigger(changed(path, value), NOW_MS)
    assert (caught.value.field, caught.value.status) == (field, 422)
    assert rule in caught.value.rule


@pytest.mark.parametrize("body", [None, [], "x", 7])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    """A body that is not a JSON object is refused, and the error's field is `body`."""
    with pytest.raises(CallerError, match="body: must be a JSON object"):
        parse_trigger(body)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("recipient/email", "canary@secret.test\r\nBcc: x@y.test"),
        ("recipient/phone", "+49canary"),
        ("recipient/canary@secret.test", 1),
        ("recipient/id", "canary\x00"),
        ("canary@secret.test", {}),
        ("data/a", "canary\x00"),
    ],
)
def test_no_error_tells_an_address(path: str, value: Any) -> None:
    """A faulty trigger has text that the caller made up, as a value or as a key. The error repeats this text neither in
    its message nor as its cause.
    """
    with pytest.raises(CallerError) as caught:
        parse_trigger(changed(path, value))
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_request_shown_hides_its_addresses() -> None:
    """The `repr` of a request contains no address, so that no log line or traceback does."""
    shown = repr(parse_trigger(EXAMPLE))
    assert "ada@" not in shown
    assert "+4915" not in shown


def test_two_spellings_of_a_domain_are_one_address() -> None:
    """The request stores the domain in A-labels (ASCII form). So a repeat with the other spelling has the same hash."""
    spellings = ("ada@Bücher.example", "ada@xn--bcher-kva.example")
    first, second = (parse_trigger(changed("recipient/email", address), NOW_MS) for address in spellings)
    assert first.recipient is not None
    assert first.recipient.email == "ada@xn--bcher-kva.example"
    assert body_hash(first) == body_hash(second)


@pytest.mark.parametrize(
    ("number", "region"),
    [
        ("+4915112345678", "DE"),
        ("+12025550123", "US"),
        ("+14165550123", "CA"),
        ("+390612345678", "IT"),
        ("+447400123456", "GB"),
        ("+80012345678", "001"),
        ("+491", None),
        ("+4907911123456", None),
        ("+999123456789", None),
        ("004915112345678", None),
        ("+49 151 12345678", None),
        ("+4915112345678\n", None),
        ("+49151१२३४५६७८", None),
        ("tel:+4915112345678", None),
        ("+1", None),
        ("+", None),
    ],
)
def test_a_phone_number_is_e164_and_valid(number: str, region: str | None) -> None:
    """Only an exact E.164 number that is valid in its country's number plan has a region."""
    assert phone_region(number) == region


@pytest.mark.parametrize(
    "text",
    [
        *(
            "2030-03-17T18:46:40+01:00",
            "2030-03-17T18:46:40+0100",
            "2030-03-17T18:46:40.000+01",
            "2030-03-17 18:46:40+01",
        ),
        *("2030-03-17T17:46:40,000Z", "2030-03-17 17:46:40 +0000", "2030-03-17t17:46:40z", "2030-03-17T17:46:40-00:00"),
    ],
)
def test_an_instant_is_read_as_other_programs_write_it(text: str) -> None:
    """An offset without colon or minutes, and a space instead of the T, are accepted, because they mean one thing
    only (zod 1703, elixir 6181).
    """
    assert parse_trigger(changed("send_at", text), NOW_MS).send_at_ms == 1_900_000_000_000


@pytest.mark.parametrize(
    "text",
    [
        *("2030-03-17T17:46:40+1", "2030-03-17T17:46:40+001", "2030-03-17T17:46:40+01:0", "2030-03-17T17:46:40 01:00"),
        *(
            "20300317T174640Z",
            "2030-03-17T17:46:40UTC",
            "2030-03-17T17:46:60Z",
            "2030-03-17T24:00:00Z",
            " 2030-03-17T17:46Z",
        ),
    ],
)
def test_an_instant_that_may_mean_two_things_is_refused(text: str) -> None:
    """An instant whose form is not clear is refused.

    For example, a web form may have turned the plus of the offset into a space.
    """
    with pytest.raises(CallerError, match="send_at: must be an ISO 8601 instant"):
        parse_trigger(changed("send_at", text), NOW_MS)


def test_send_at_is_an_instant() -> None:
    """Two spellings of the same `send_at` instant give the same milliseconds and the same hash."""
    one, two = (
        parse_trigger(changed("send_at", text), NOW_MS)
        for text in ("2090-01-01T01:00:00.5+01:00", "2090-01-01T00:00:00.500Z")
    )
    assert one.send_at_ms == two.send_at_ms == 3_786_912_000_500
    assert body_hash(one) == body_hash(two)


@pytest.mark.parametrize(("late_ms", "accepted"), [(60_000, True), (60_001, False)])
def test_send_at_may_be_a_minute_late(late_ms: int, accepted: bool) -> None:
    """A `send_at` of up to a minute ago is accepted, because clocks differ and requests are repeated.

    A `send_at` of more than a minute ago is refused.
    """
    body = changed("send_at", "2030-03-17T17:46:40Z")
    if accepted:
        assert parse_trigger(body, NOW_MS + late_ms).send_at_ms == NOW_MS
    else:
        with pytest.raises(CallerError, match="must not be more than 60 s in the past"):
            parse_trigger(body, NOW_MS + late_ms)


def test_the_hash_ignores_spelling_and_key() -> None:
    """The hash has 32 hex digits, and does not depend on the order of fields or on the idempotency key."""
    reordered = dict(reversed(changed("idempotency_key", "k-1").items()))
    digest = body_hash(parse_trigger(EXAMPLE))
    assert body_hash(parse_trigger(reordered)) == digest
    assert len(digest) == 32
    assert int(digest, 16) > 0


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("event", "checkout.failed"),
        ("recipient/email", "ada@example.org"),
        ("data/order", "1235"),
        ("data/order", 1234),
        ("data/note", None),
        ("priority", "high"),
        ("priority", None),
        ("notifications", [LISTED]),
    ],
)
def test_the_hash_tells_meanings_apart(path: str, value: Any) -> None:
    """Two triggers have different hashes if they differ in any field that is sent, or in a null inside `data`."""
    assert body_hash(parse_trigger(changed(path, value))) != body_hash(parse_trigger(EXAMPLE))


def test_answers_have_the_documented_shape() -> None:
    """The 202 and the problem details have the documented JSON fields."""
    accepted = AcceptedResponse(id="0-a", notifications=[AcceptedNotification(id="0-a.0", channel="sms", vendor="s")])
    assert accepted.model_dump(exclude_none=True) == {
        "id": "0-a",
        "notifications": [{"id": "0-a.0", "channel": "sms", "vendor": "s"}],
        "replayed": False,
    }
    problem = Problem.of(CallerError("recipient.phone", "must be E.164"))
    assert (problem.status, problem.field, problem.type) == (422, "recipient.phone", "about:blank")


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("en-US-u-fw-mon-mu-celsius", "en-US-u-fw-mon-mu-celsius"),
        ("de_AT", "de_AT"),
        ("zh-Hant-TW", "zh-Hant-TW"),
        ("sl-rozaj-biske-1994", "sl-rozaj-biske-1994"),
        ("x-shop", "x-shop"),
        ("de_DE.UTF-8", "de_DE"),
        ("de_DE@euro", "de_DE"),
        ("zh_CN_#Hans", "zh_CN"),
        ("de;q=0.9", "de"),
        ("de-AT,de;q=0.8", "de-AT"),
        (".UTF-8", None),
        ("de .UTF-8", None),
        ("de-DE\r\nX: y", None),
        ("en-US-u", None),
        ("", None),
        ("e" * 200, None),
    ],
)
def test_a_locale_never_refuses_a_trigger(given: str, taken: str | None) -> None:
    """A well-formed language tag of RFC 5646 is kept, without the parts that POSIX and Java add.

    Any other locale is read as None.
    """
    body = {"event": "paid", "recipient": {"email": "ada@example.com", "locale": given}}
    assert parse_trigger(body).recipient.locale == taken


def test_a_hash_that_is_stored_stays_right() -> None:
    """The hash of this trigger never changes, even if later versions add fields, because repeats of a key are
    compared with stored hashes.
    """
    plain = {"event": "e", "recipient": {"phone": "+4915112345678"}}
    assert body_hash(parse_trigger(plain)) == "33fc0d303ef6c445132763ae73182c13"


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("idempotency_key", " k", "without a space at its ends"),
        ("idempotency_key", "k ", "without a space at its ends"),
        ("expires_in_s", 60.5, "whole number"),
        ("expires_in_s", "60", "whole number"),
        ("expires_in_s", 1e300, "whole number"),
    ],
)
def test_what_a_header_or_a_clock_cannot_have_is_refused(field: str, value: Any, rule: str) -> None:
    """An idempotency key that begins or ends with a space is refused. In a header, HTTP would trim it and make it
    another key.

    A time that is no whole number is refused too.
    """
    with pytest.raises(CallerError, match=f"{field}: .*{rule}"):
        parse_trigger(changed(field, value), NOW_MS)


def test_sixty_point_nought_is_a_whole_number() -> None:
    """60.0 is accepted as 60, because JSON has one kind of number and some programs always write a fraction (JSON
    Schema 2020-12, section 6.1.1).
    """
    one, two = (parse_trigger(changed("expires_in_s", value), NOW_MS) for value in (60, 60.0))
    assert (one.expires_in_s, body_hash(one)) == (two.expires_in_s, body_hash(two)) == (60, body_hash(two))


@pytest.mark.parametrize("length", [0, 200_000])
def test_the_length_of_a_text_is_told_in_characters(length: int) -> None:
    """A text is too short or too long. The error counts characters, and not items as it does for a list."""
    content = {"channel": "sms", "content": {"text": "x" * length}}
    with pytest.raises(CallerError, match=r"notifications\.0\.content\.text: must have at (least|most) \d+ characters"):
        parse_trigger(changed("notifications", [content]), NOW_MS)
