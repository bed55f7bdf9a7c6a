"""The body of POST /v1/triggers: its shape, its rules, and the error that a caller gets if it breaks a rule.

Every error names the field by its dotted path, and states the rule in our own words. No error repeats a value, because
an address in an error would get into logs.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Annotated, Any

import phonenumbers
from phonenumbers.phonenumberutil import COUNTRY_CODE_TO_REGION_CODE
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from dispatcher.core.accepting.expansion import fallback_fault
from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.choices import Channel, OnUnknown, Priority, WaitFor
from dispatcher.errors import CallerError
from dispatcher.wire.broken_rule import broken_rule
from dispatcher.wire.mail_address import with_ascii_domain

SEND_AT_PAST_S_MAX = 60  # clocks differ and requests are repeated; older than this is an instant nobody meant
SEND_AT_AHEAD_DAYS_MAX = 36_525  # a hundred years: an instant past the calendar's end has no quiet hours
DATA_KEY_CHARS_MAX = 128
RECIPIENTS_MAX = 100  # of one trigger: all are stored by one script, which must not hold up other accepts

# Unicode's line ends count too: mail headers and logs break at them. A lone surrogate can be stored by nobody.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Data may hold lines and tabs, for texts; a subject made of them is refused where it is rendered.
_DATA_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


# Addresses -----------------------------------------------------------------------------------------------------------

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


@lru_cache(maxsize=65_536)
def phone_region(number: str) -> str | None:
    """Return the region of a valid E.164 number (ISO 3166 alpha-2, or "001" for the whole world). None means invalid.

    The number is read digit by digit, in half the time of phonenumbers.parse. That function would also accept a number
    with a national prefix, because it removes the prefix. But a vendor gets exactly the caller's text, so the text
    itself must be valid.
    """
    if not _E164.fullmatch(number):
        return None
    code = next((number[1:end] for end in (2, 3, 4) if int(number[1:end]) in COUNTRY_CODE_TO_REGION_CODE), "")
    national = number[1 + len(code) :]
    if not code or not national:
        return None
    parsed = phonenumbers.PhoneNumber(country_code=int(code), national_number=int(national))
    zeros = len(national) - len(national.lstrip("0"))
    if zeros:  # an Italian zero is dialled from abroad
        parsed.italian_leading_zero = True
        parsed.number_of_leading_zeros = zeros
    region: str | None = phonenumbers.region_code_for_number(parsed)
    return region if region and phonenumbers.is_valid_number_for_region(parsed, region) else None


# Rules of single fields ----------------------------------------------------------------------------------------------


def _rule(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("rule", sentence)


def _email(value: str) -> str:
    """Return the address in the form in which it is stored.

    An international domain is converted to A-labels. So both spellings of such a domain give the same address.
    """
    address = with_ascii_domain(value)
    if address is None:
        raise _rule("must be one bare e-mail address (local@domain, at most 254 characters, ASCII before the @)")
    return address


def _phone(value: str) -> str:
    if phone_region(value) is None:
        raise _rule("must be a valid phone number in E.164 form, such as +4915112345678")
    return value


def _header_text(value: str) -> str:
    if _CONTROL.search(value):
        raise _rule("must not contain control characters or line ends")
    return value


def _body_text(value: str) -> str:
    if _DATA_CONTROL.search(value):
        raise _rule("must not contain control characters other than tabs and line ends")
    return value


_SEND_AT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:[.,]([0-9]{1,9}))?"
    r" ?(?:[Zz]|([+-][0-9]{2})(?::?([0-9]{2}))?)"
)


def _send_at(value: Any) -> datetime | None:
    """Return the instant in UTC, so that two spellings of the same instant are equal.

    Return None if there is no `send_at`.
    """
    if value is None or isinstance(value, datetime):
        return value
    match = _SEND_AT.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        day, clock, fraction, hours, minutes = match.groups()
        whole = clock if len(clock) > 5 else f"{clock}:00"
        micros = f"{fraction or ''}000000"[:6]  # Python 3.10 reads three or six digits only
        offset = f"{hours or '+00'}:{minutes or '00'}"
        try:
            return datetime.fromisoformat(f"{day}T{whole}.{micros}{offset}").astimezone(timezone.utc)
        except (ValueError, OverflowError):
            pass
    raise _rule("must be an ISO 8601 instant with an offset, such as 2030-01-31T09:00:00+01:00")


def _data(value: JsonObject) -> JsonObject:
    """Return `value` if all its keys and texts are allowed.

    The depth was limited by `parse_json`, so recursion is safe.
    """
    for key, item in value.items():
        if len(key) > DATA_KEY_CHARS_MAX or _CONTROL.search(key):
            raise _rule(f"must have keys of at most {DATA_KEY_CHARS_MAX} characters without control characters")
        if isinstance(item, (str, dict, list)):
            _data_item(item)
    return value


def _data_item(item: Any) -> None:
    if isinstance(item, str):
        _body_text(item)
    elif isinstance(item, dict):
        _data(item)
    elif isinstance(item, list):
        for inner in item:
            _data_item(inner)


def _whole(value: Any) -> Any:
    """Return a float without a fraction, such as 60.0, as an int. Return any other value unchanged.

    In JSON, 60.0 is a whole number, and some programs write every number with a fraction. Floats of 2^53 or more are
    unchanged, because they are not exact.
    """
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


HeaderText = Annotated[str, AfterValidator(_header_text)]
Seconds = Annotated[int, BeforeValidator(_whole, json_schema_input_type=int), Field(ge=1, le=604_800)]
# A well-formed tag of RFC 5646, section 2.1: language, script, region, variants, extensions, private use. Phones and
# older systems write underscores.
_LOCALE = re.compile(
    r"(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})(?:-[a-z]{4})?(?:-(?:[a-z]{2}|[0-9]{3}))?"
    r"(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(?:-[0-9a-wyz](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?"
    r"|x(?:-[a-z0-9]{1,8})+",
    re.I,
)
_LOCALE_CHARS_MAX = 100
_BEHIND_A_LOCALE = re.compile(r"[.@;,]|[_-]#")


def _locale(value: Any) -> Any:
    """Return the language tag without what POSIX, Java and HTTP put behind it, or None if the tag is not well-formed.

    Examples of such endings are `de_DE.UTF-8`, `zh_CN_#Hans`, `de;q=0.9` and `de,en`. A trigger with a wrong tag is not
    refused, because sending the message matters more than its language.
    """
    if not isinstance(value, str):
        return value
    tag = _BEHIND_A_LOCALE.split(value, maxsplit=1)[0]
    return tag if len(tag) <= _LOCALE_CHARS_MAX and _LOCALE.fullmatch(tag.replace("_", "-")) else None


_TIME_ZONE = r"^[A-Za-z][A-Za-z0-9_+/-]{0,63}$"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$"
_KEY = r"^[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?$"
_PATTERN_RULES = {
    _TIME_ZONE: "must be the name of a time zone, such as Europe/Berlin",
    _NAME: "must be 1 to 81 letters, digits, dots, dashes or underscores, and begin with a letter or a digit",
    _KEY: "must be 1 to 255 printable ASCII characters without a space at its ends",
}
TimeZone = Annotated[str, Field(pattern=_TIME_ZONE)]
Name = Annotated[str, Field(pattern=_NAME)]
IdempotencyKey = Annotated[str, Field(pattern=_KEY)]


# The request ---------------------------------------------------------------------------------------------------------


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Recipient(_Part):
    """The person who gets the notifications. `repr` leaves the addresses out, so that no log shows them."""

    id: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_header_text)] | None = Field(
        default=None, description="Your own id of this person, such as a customer number."
    )
    email: Annotated[str, AfterValidator(_email)] | None = Field(
        default=None, repr=False, description="The e-mail address. A trigger that sends an e-mail needs it."
    )
    phone: Annotated[str, AfterValidator(_phone)] | None = Field(
        default=None,
        repr=False,
        description="The phone number, such as +4915112345678. A trigger that sends an SMS needs it.",
    )
    locale: Annotated[str | None, BeforeValidator(_locale)] = Field(
        default=None, description="A language tag, such as de-AT. It is ignored if it is not well-formed."
    )
    time_zone: TimeZone | None = Field(default=None, description="The zone for quiet hours, such as Europe/Berlin.")


class Content(_Part):
    """A complete message, which is sent exactly as it is. Nothing in it is treated as a template."""

    subject: Annotated[str, Field(min_length=1, max_length=998), AfterValidator(_header_text)] | None = Field(
        default=None, repr=False, description="An e-mail must have one."
    )
    text: Annotated[str, Field(min_length=1, max_length=65_536), AfterValidator(_body_text)] = Field(
        repr=False, description="The plain text."
    )
    html: Annotated[str, Field(min_length=1, max_length=262_144), AfterValidator(_body_text)] | None = Field(
        default=None, repr=False, description="The HTML part of an e-mail."
    )


_TEMPLATE = "The name of a stored template. Give either this or `content`."
_CONTENT = "The complete message. Give either this or `template`."


class FallbackRequest(_Part):
    """A message on another channel, which may replace the notification in which it is listed.

    The message is sent if that notification is dead, or has not succeeded within `after_s` seconds.
    """

    channel: Channel = Field(description="Another channel than that of the notification.")
    template: Name | None = Field(default=None, description=_TEMPLATE)
    content: Content | None = Field(default=None, description=_CONTENT)
    after_s: Seconds | None = Field(
        default=None, description="The fallback also begins this long after the notification was due, without success."
    )
    wait_for: WaitFor = Field(
        default="accepted", description="Success means `accepted` by a vendor, or `delivered` by a receipt."
    )


class NotificationRequest(_Part):
    """One notification that the request itself lists: with a stored template, or with content."""

    channel: Channel
    template: Name | None = Field(default=None, description=_TEMPLATE)
    content: Content | None = Field(default=None, description=_CONTENT)
    fallback: FallbackRequest | None = Field(default=None, description="A message that is sent if this one fails.")


class TriggerRequest(_Part):
    """One trigger for one or several recipients.

    A priority, expiry or policy that is None comes from the event's definition.
    """

    event: Name = Field(description="A configured event, or any name if `notifications` is given.")
    recipient: Recipient | None = Field(
        default=None, description="Who gets the messages. Give either this or `recipients`."
    )
    recipients: Annotated[list[Recipient], Field(min_length=1, max_length=RECIPIENTS_MAX)] | None = Field(
        default=None, description="Several recipients, each of whom gets the messages. Give either this or `recipient`."
    )
    data: Annotated[JsonObject, AfterValidator(_data)] = Field(
        default_factory=dict, repr=False, description="The values of the variables in the templates."
    )
    priority: Priority | None = Field(
        default=None, description="`high` is sent first and `bulk` last. The event has a default."
    )
    expires_in_s: Seconds | None = Field(
        default=None, description="After this time nothing is sent any more. The event has a default."
    )
    send_at: Annotated[datetime | None, BeforeValidator(_send_at)] = Field(
        default=None, description="When to send, in ISO 8601 with an offset. Without it, now."
    )
    on_unknown: OnUnknown | None = Field(
        default=None, description="If a message was maybe sent, `resend` sends it again and `hold` does not."
    )
    idempotency_key: IdempotencyKey | None = Field(
        default=None, description="The same as the header `Idempotency-Key`. Give either of them."
    )
    notifications: Annotated[list[NotificationRequest], Field(min_length=1, max_length=20)] | None = Field(
        default=None, description="The messages to send, instead of those of the event."
    )
    dry_run: bool = Field(default=False, description="Return what would be sent, and store nothing.")

    @property
    def addressed(self) -> list[tuple[str, Recipient]]:
        """Return the recipients in order, each with its path in the request."""
        if self.recipients is not None:
            return [(f"recipients[{index}]", person) for index, person in enumerate(self.recipients)]
        return [("recipient", self.recipient)] if self.recipient is not None else []

    @property
    def send_at_ms(self) -> int | None:
        """Return `send_at` in wall milliseconds, or None for "now"."""
        return None if self.send_at is None else (self.send_at - _EPOCH) // timedelta(milliseconds=1)


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def parse_trigger(data: Any, now_ms: int | None = None) -> TriggerRequest:
    """Return the request in `data`, a value from `parse_json`, after all checks.

    `now_ms` is the wall time with which `send_at` is compared; None means the present. Raises CallerError (422) for the
    first fault.
    """
    request = read_trigger(data)
    check_send_at(request, time.time_ns() // 1_000_000 if now_ms is None else now_ms)
    return request


def read_trigger(data: Any) -> TriggerRequest:
    """Return the request in `data` after checking its shape only. So the result does not depend on the time.

    Raises CallerError (422) for the first fault.
    """
    if not isinstance(data, Mapping):
        raise CallerError("body", "must be a JSON object")
    try:
        request = TriggerRequest.model_validate(data)
    except ValidationError as error:
        raise broken_rule(error, _PATTERN_RULES) from None
    if request.recipients is None and request.recipient is None:
        raise CallerError("recipient", "must be a JSON object" if "recipient" in data else "is required")
    if request.recipients is not None and request.recipient is not None:
        raise CallerError("recipients", "must not be given together with recipient")
    for index, wanted in enumerate(request.notifications or ()):
        _check_notification(wanted, f"notifications.{index}")
    return request


def check_send_at(request: TriggerRequest, now_ms: int) -> None:
    """Raise CallerError (422) if `send_at` is too far from `now_ms` (wall milliseconds), in the past or the future."""
    if request.send_at_ms is None:
        return
    if request.send_at_ms < now_ms - SEND_AT_PAST_S_MAX * 1000:
        raise CallerError("send_at", f"must not be more than {SEND_AT_PAST_S_MAX} s in the past")
    if request.send_at_ms > now_ms + SEND_AT_AHEAD_DAYS_MAX * 86_400_000:
        raise CallerError("send_at", f"must not be more than {SEND_AT_AHEAD_DAYS_MAX} days ahead")


def _check_notification(wanted: NotificationRequest | FallbackRequest, at: str) -> None:
    if (wanted.template is None) == (wanted.content is None):
        raise CallerError(at, "must have either template or content")
    if wanted.channel == "email" and wanted.content is not None and wanted.content.subject is None:
        raise CallerError(f"{at}.content.subject", "is required for an e-mail")
    if isinstance(wanted, NotificationRequest) and wanted.fallback is not None:
        _check_notification(wanted.fallback, f"{at}.fallback")
        fault = fallback_fault(wanted.channel, wanted.fallback)
        if fault is not None:
            raise CallerError(f"{at}.fallback.{fault[0]}", fault[1])


def body_hash(request: TriggerRequest) -> str:
    """Return 32 hex digits. Two requests have the same digits if and only if they mean the same.

    The idempotency key of a request does not change its digits. Fields that are None are left out. So a field that a
    later version adds does not change the hashes already stored.
    """
    meaning = request.model_dump(mode="json", exclude={"idempotency_key", "data", "dry_run"}, exclude_none=True)
    meaning["data"] = request.data  # as given: its nulls are content
    canonical = json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()[:32]
