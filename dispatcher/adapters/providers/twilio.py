"""Twilio Programmable Messaging: POST /2010-04-01/Accounts/{Sid}/Messages.json with a form body and basic auth.

A message was accepted if the answer is 201 with a message sid and a status other than `failed`. A 429 was not
processed. After a 5xx the outcome is unknown, because Twilio says that the recipient may get the message twice.

A message with an unknown outcome is looked up in Twilio's list of messages, by GET of the same URL. The list is
filtered by recipient, sender and day, and is sorted by time, newest first. The list shows each message's text and its
creation time in whole seconds. Only the text tells our messages apart. A trial account adds a sentence before each
text, so messages of a trial account are never found.
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from dispatcher.adapters.providers.call_backs import fields_of, told_in, word_of
from dispatcher.adapters.providers.fields import Options, Secret, Text, Url, parse_sms_sender
from dispatcher.adapters.providers.http import (
    CALLS_MAX,
    TEXT_MAX,
    Answer,
    HttpClient,
    read_object,
    retry_after_s,
    unspoken,
)
from dispatcher.adapters.providers.provider import Provider
from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.late_refusal import LateRefusal
from dispatcher.core.life.look_up import Listing, Sighting
from dispatcher.core.life.outcome import DAILY_S, Meaning, Outcome, Scope, Word, listed, read_refusal
from dispatcher.core.life.receipt import Told
from dispatcher.core.life.rendered_message import Message

SID = re.compile(r"^(SM|MM)[0-9a-f]{32}$")
DOCS = "https://www.twilio.com/docs/api/errors/{code}"
WORDS = (
    # A recipient that is invalid, missing, not mobile, a landline or opted out.
    listed(Meaning.FINAL, DOCS, "21211", "21217", "21604", "21610", "21614", "21635")
    | listed(Meaning.FINAL, DOCS, "21602", "21617")  # a body that is missing or too long
    # This account or sender may not, or cannot, reach that country or carrier. No sender of a Messaging Service can
    # (21703), or the country does not support this sender (21657).
    | listed(Meaning.ROUTE, DOCS, "21408", "21612", "21657", "21662", "21703")
    # Credentials; an account that is closed or not found; a sender that is missing, invalid or not ours.
    | listed(Meaning.ACCOUNT, DOCS, "20003", "20005", "20404", "21212", "21601", "21603", "21606", "21659", "21660")
    | listed(Meaning.ACCOUNT, DOCS, "10001", "20403", "30002", "90010")  # an account that is suspended
    # A key or an account without the right to send, or a sender that cannot send text messages.
    | listed(Meaning.ACCOUNT, DOCS, "20006", "20008", "20010", "21607", "21661", "21663", "70051")
    # A Messaging Service that does not exist, is not available or has no sender.
    | listed(Meaning.ACCOUNT, DOCS, "21701", "21702", "21704", "21705")
    | listed(Meaning.ACCOUNT, DOCS, "21609")  # our `receipts.public_url` is an address that Twilio cannot call
    | listed(Meaning.ACCOUNT, DOCS, "30454", "63038", wait_s=DAILY_S)  # the account's limit of messages
    | listed(Meaning.RATE, DOCS, "20429", "21611")  # too many requests; the sender's queue is full
)
"""The meanings of Twilio's error codes. A message with any other code goes to the next vendor.

Three codes are left out on purpose. 21608 is a trial account's unverified recipient, so other recipients may work.
21266 is a recipient that is our own sender, and another vendor has another sender. 21265 is a recipient that is a
short code, which only Twilio's own numbers cannot reach.
"""

SHORT_CODE_WORDS = WORDS | listed(Meaning.ROUTE, DOCS, "21606", "21659")
"""The meanings for a sender that is a short code, which can send only to its own country. These codes report that."""


SERVICE = re.compile(r"^MG[0-9a-f]{32}$")
SHORT_CODE = re.compile(r"^[0-9]{3,8}$")
CARRIED = dict.fromkeys(
    ("accepted", "scheduled", "queued", "sending", "sent", "delivered", "read"), True
) | dict.fromkeys(("undelivered", "failed", "canceled"), False)
PAGE = 20
"""The most messages that a look-up reads, about 20 KiB. In the time that a look-up covers, a recipient gets fewer."""

REPEATED = "#rc=5&rp=all"
"""Twilio's connection overrides, as a URL fragment. Twilio removes the fragment before the request.

The fragment makes Twilio repeat a call-back up to five times within 15 s after any failure, including our own 503. By
default Twilio repeats only if it could not connect.
https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
"""

VALIDITY_S_MAX = 36_000
"""The longest `ValidityPeriod`, in seconds, which is also Twilio's default. The shortest is 1."""

CLOCK_S_MAX = 3600.0
"""The seconds that a look-up subtracts from the time of sending, to get the first day to search.

Around midnight, our clock and Twilio's may show different days.
"""


def _account_sid(value: str) -> str:
    if not re.fullmatch("AC[A-Za-z0-9]+", value):
        raise ValueError("must be an account sid: AC and letters or digits")
    return value


def _sender(value: str) -> str:
    return value.strip() if SERVICE.match(value.strip()) else parse_sms_sender(value)


def _api_key(value: str) -> str:
    if not re.fullmatch("SK[A-Za-z0-9]+", value):
        raise ValueError("must be an API key's sid: SK and letters or digits")
    return value


class TwilioOptions(Options):
    """An account, its secret, and a number, short code, name or messaging service (`MG…`) to send from.

    The secret is the account's `auth_token`. An `api_key` (`SK…`) with `api_key_secret` can replace `auth_token`, and
    can be revoked alone.
    """

    base_url: Url = "https://api.twilio.com"
    account_sid: Annotated[Text, AfterValidator(_account_sid)]
    api_key: Annotated[Text, AfterValidator(_api_key)] | None = None
    api_key_secret: Secret | None = Field(default=None, validate_default=True)
    auth_token: Secret | None = Field(default=None, validate_default=True)
    sender: Annotated[str, AfterValidator(_sender)]

    @field_validator("api_key_secret")
    @classmethod
    def _key_is_whole(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "api_key" in info.data and (value is None) != (info.data["api_key"] is None):
            raise ValueError("is needed if api_key is given" if value is None else "must be left out without api_key")
        return value

    @field_validator("auth_token")
    @classmethod
    def _one_login(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "api_key" in info.data and (value is None) == (info.data["api_key"] is None):
            raise ValueError(
                "is needed unless api_key is given" if value is None else "must be left out if api_key is given"
            )
        return value

    @property
    def login(self) -> SecretStr:
        """Return user and password for basic authentication, joined by a colon."""
        secret = self.auth_token if self.api_key_secret is None else self.api_key_secret
        assert secret is not None, "the options were validated"
        return SecretStr(f"{self.api_key or self.account_sid}:{secret.get_secret_value()}")


class Twilio:
    """A vendor: one Twilio account with one sender."""

    def __init__(self, name: str, channel: str, options: TwilioOptions) -> None:
        self.name, self.channel = name, channel
        self._url = f"{options.base_url}/2010-04-01/Accounts/{options.account_sid}/Messages.json"
        credentials = b64encode(options.login.get_secret_value().encode()).decode()
        self._authorization = SecretStr(f"Basic {credentials}")
        self._sender = _sender_field(options.sender)
        self._words = SHORT_CODE_WORDS if SHORT_CODE.match(options.sender) else WORDS
        self._http = HttpClient()

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        form = {"To": message.to, **self._sender, "Body": message.text}
        if message.receipt is not None:
            form["StatusCallback"] = message.receipt.url + REPEATED
        if message.expires_in_s is not None and message.expires_in_s < VALIDITY_S_MAX:
            form["ValidityPeriod"] = str(max(1, int(message.expires_in_s)))
        answer = await self._http.post_form(self._url, timeout_s, form, self._headers())
        return answer if isinstance(answer, Outcome) else classify(answer, self._words)

    async def look_up(self, message: Message, since_ms: int, timeout_s: float) -> Listing | None:
        day = datetime.fromtimestamp(since_ms / 1000 - CLOCK_S_MAX, timezone.utc).strftime("%Y-%m-%d")
        # A messaging service chooses a number itself, so the look-up can only filter by a fixed sender.
        sender = {name: value for name, value in self._sender.items() if name == "From"}
        query = {"To": message.to, **sender, "DateSent>": day, "PageSize": str(PAGE)}
        answer = await self._http.get(f"{self._url}?{urlencode(query)}", timeout_s, self._headers())
        return None if answer is None else read_list(answer)

    async def close(self) -> None:
        await self._http.close()

    def _headers(self) -> dict[str, str]:
        return {"Authorization": self._authorization.get_secret_value()}


def classify(answer: Answer, words: Mapping[str, Word] = WORDS) -> Outcome:
    body = read_object(answer.body)
    code, text = _code(body.get("code")), f"{body.get('message', '')}"[:TEXT_MAX]
    if 200 <= answer.status < 300:
        return _created(body, words)
    if answer.status >= 500:
        return replace(Outcome.unknown(f"http_{answer.status}"), text=text)
    asked_s = retry_after_s(answer.headers, time.time())
    if answer.status == 429 and (
        code not in words or words[code].means is Meaning.FINAL
    ):  # a 429 never concerns the message itself
        return replace(Outcome.throttled(f"twilio_{code or 429}", asked_s), text=text)
    if code and 400 <= answer.status < 500:
        return read_refusal("twilio", code, words, text=text, asked_s=asked_s)
    if answer.status == 403 and {"message", "status"} <= body.keys():  # Twilio's own format, but without a code
        return replace(Outcome.failed("http_403", scope=Scope.ACCOUNT), text=text or "http_403")
    return unspoken(answer)


def _created(body: JsonObject, words: Mapping[str, Word]) -> Outcome:
    """Return the outcome of a 2xx answer.

    Twilio can create a message and refuse it in the same answer, with an error code.
    """
    sid, code = body.get("sid"), _code(body.get("error_code"))
    if not isinstance(sid, str) or not SID.match(sid):
        return Outcome.unknown("no_message_id")
    if CARRIED.get(str(body.get("status"))) is False:
        text = f"{body.get('error_message') or ''}"[:TEXT_MAX]
        return read_refusal("twilio", code, words, text=text) if code else Outcome.unknown("no_message_id")
    return Outcome.accepted(sid)


def _code(value: Any) -> str:
    """Return an error code as text. The result is "" if `value` is neither a number nor a text of 4 to 6 digits."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return ""
    return str(value) if re.fullmatch("[0-9]{4,6}", str(value), re.ASCII) else ""


def read_list(answer: Answer) -> Listing | None:
    """Return the messages in the answer to a look-up, or None if the answer or one of its messages cannot be read."""
    body = read_object(answer.body)
    rows = body.get("messages")
    if answer.status != 200 or not isinstance(rows, list):
        return None
    try:
        sightings = [
            Sighting(str(row["sid"]), str(row["body"]), _ms(row["date_created"]), CARRIED.get(str(row["status"])))
            for row in rows
        ]
        date = answer.headers.get("Date")
        return Listing(sightings, None if date is None else _ms(date), body.get("next_page_uri") is not None)
    except (KeyError, TypeError, ValueError):
        return None


def _ms(date: str) -> int:
    return int(parsedate_to_datetime(date).timestamp() * 1000)


RECEIPT_WORDS = {
    **dict.fromkeys(("sent", "delivered", "read"), True),
    **dict.fromkeys(("undelivered", "failed", "canceled"), False),
}


LATE_WORDS = WORDS | (
    listed(Meaning.FINAL, DOCS, "30005")  # the number is unknown to its network
    | listed(Meaning.DEFERRED, DOCS, "30003")  # a telephone that is switched off
    # A sender that this country's carriers do not let through: not registered (A2P 10DLC, toll-free, alphanumeric), or
    # its campaign is suspended or has used up its day.
    | listed(Meaning.ROUTE, DOCS, "30018", "30023", "30024", "30027", "30032", "30033", "30034", "30035")
    | listed(Meaning.ROUTE, DOCS, "30040", "30041", "30042")
    | listed(Meaning.ACCOUNT, DOCS, "30037")  # sending is disabled for the account
    # Refused for this text, this number or this moment: a filter, a carrier's list, no route, a price, a time.
    | listed(Meaning.UNLISTED, DOCS, "30004", "30006", "30007", "30010", "30019", "30036", "30450", "30453", "30485")
    | listed(Meaning.RATE, DOCS, "30001", "30022")  # our own rate: a queue that is full, a campaign's throughput
    | listed(Meaning.VENDOR, DOCS, "30017", "30020", "30021", "30500")
    | listed(Meaning.UNKNOWN, DOCS, "30046", "30410")  # no confirmation, or no answer from the carrier
)
"""The meanings of the error codes in receipts. Twilio accepts a message with 201 and refuses it later with a receipt.

https://www.twilio.com/docs/messaging/guides/track-outbound-message-status. 30008 is left out on purpose: a carrier says
only that the message did not arrive. So 30008 counts like any unlisted code. The title of each code was checked
against Twilio's dictionary (https://www.twilio.com/docs/api/errors).
"""


def read_call_back(query: Mapping[str, str], body: bytes) -> list[Told]:
    fields = fields_of(body)
    word = word_of(fields.get("MessageStatus") or fields.get("SmsStatus", ""))  # the older name of `MessageStatus`
    carried = RECEIPT_WORDS.get(word)
    refusal, reached = None if carried else _late_refusal(word, fields), word in ("delivered", "read")
    return [told_in(query, carried, reached, refusal, message_id=_sid(fields))]


def _late_refusal(word: str, fields: JsonObject) -> LateRefusal | None:
    """Return why Twilio gave a message up, or None if the receipt does not tell.

    `failed` means that Twilio did not send the message; `undelivered` means that a carrier did not deliver the message
    (https://www.twilio.com/docs/messaging/api/message-resource#message-status-values).
    """
    code = _code(fields.get("ErrorCode"))
    if word not in ("failed", "undelivered"):
        return None
    outcome = read_refusal("twilio", code or word, LATE_WORDS, text=str(fields.get("ErrorMessage") or "")[:TEXT_MAX])
    return LateRefusal(outcome, word == "failed" or code in LATE_WORDS, _sid(fields))


def _sid(fields: JsonObject) -> str:
    return str(fields.get("MessageSid") or fields.get("SmsSid") or "")


def _sender_field(sender: str) -> dict[str, str]:
    return {"MessagingServiceSid" if SERVICE.match(sender) else "From": sender}


SEGMENTS_MAX = 10
"""The most segments of an SMS at Twilio.

Twilio accepts 1,600 characters, and 10 whole segments hold 1,530 characters of the GSM alphabet. A longer SMS is
refused with code 21617. https://www.twilio.com/docs/api/errors/21617
"""

TWILIO = Provider(
    "twilio",
    ("sms",),
    TwilioOptions,
    Twilio,
    read_call_back,
    WORDS,
    calls_max=CALLS_MAX,
    segments_max=SEGMENTS_MAX,
)
