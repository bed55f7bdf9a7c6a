"""SendGrid v3: POST /v3/mail/send with a JSON body and a bearer key.

A mail was accepted if the answer is 202 with an X-Message-Id header. The body is then empty.

A mail's status cannot be looked up. The Email Activity API could find a mail by the notification id that we send along
(`nid`), but this API costs extra and needs other keys. So a held notification waits for its receipt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dispatcher.adapters.providers.call_backs import json_of, word_of
from dispatcher.adapters.providers.fields import EmailSender, Secret, Url
from dispatcher.adapters.providers.http import CALLS_MAX, TEXT_MAX, Answer, HttpClient, read_object, unspoken
from dispatcher.adapters.providers.mail_options import MailOptions
from dispatcher.adapters.providers.provider import Provider
from dispatcher.adapters.providers.smtp_words import meaning_of
from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.late_refusal import LateRefusal
from dispatcher.core.life.outcome import DAILY_S, Meaning, Outcome, find_phrase, outcome_of, phrase
from dispatcher.core.life.receipt import Told
from dispatcher.core.life.rendered_message import Message
from dispatcher.errors import CallerError

DOCS = "https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors"
PHRASES = (
    phrase(r"^personalizations\.\d+\.to\b.*: Does not contain a valid address", Meaning.FINAL, DOCS),
    phrase(r"does not match a verified Sender Identity", Meaning.ACCOUNT, DOCS),
    phrase(r"Maximum credits exceeded|exceeded your messaging limits", Meaning.ACCOUNT, DOCS, DAILY_S),
)
"""The meanings of SendGrid's error sentences. A mail with any other error goes to the next vendor."""


MESSAGE_ID = re.compile(r"^[\w.@-]{8,128}$")


class SendGridOptions(MailOptions):
    """A key, and the address to send from, with or without a display name."""

    base_url: Url = "https://api.sendgrid.com"
    api_key: Secret


class SendGrid:
    """A vendor: one SendGrid account with one sender."""

    def __init__(self, name: str, channel: str, options: SendGridOptions) -> None:
        self.name, self.channel = name, channel
        self._url = options.base_url + "/v3/mail/send"
        self._key, self._options = options.api_key, options
        self._fixed: JsonObject = {"from": _named(options.sender)}
        if options.reply_to is not None:
            self._fixed["reply_to"] = _named(options.reply_to)
        self._http = HttpClient()

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        content = [{"type": "text/plain", "value": message.text}]
        if message.html is not None:
            content.append({"type": "text/html", "value": message.html})
        marks = {"nid": message.notification_id}
        if message.receipt is not None:
            marks |= {"ntoken": message.receipt.token, "ncall": message.receipt.call}
        body = {
            "personalizations": [{"to": [{"email": message.to}], "custom_args": marks}],
            **self._fixed,
            "headers": self._headers(message.notification_id),
            "subject": message.subject or "",
            "content": content,
        }
        headers = {"Authorization": f"Bearer {self._key.get_secret_value()}"}
        answer = await self._http.post_json(self._url, timeout_s, body, headers)
        return answer if isinstance(answer, Outcome) else classify(answer)

    def _headers(self, notification_id: str) -> dict[str, str]:
        """Return the additional headers of one mail, as a mapping from name to value.

        Values are encoded but not folded, as SendGrid requires.
        """
        lines = [*self._options.fixed_headers(), *self._options.unsubscribe_header(notification_id)]
        parts = (line.replace("\r\n", "").partition(":") for line in lines)
        return {name: text.strip() for name, _, text in parts}

    async def close(self) -> None:
        await self._http.close()


def _named(sender: EmailSender) -> dict[str, str]:
    return {"email": sender.address, **({"name": sender.name} if sender.name else {})}


def classify(answer: Answer) -> Outcome:
    match answer.status:
        case 202:
            found = answer.headers.get("X-Message-Id", "")
            return Outcome.accepted(found) if MESSAGE_ID.match(found) else Outcome.unknown("no_message_id")
        case status if 400 <= status < 500:
            return _refused(answer)
        case status if 300 <= status < 400:
            return unspoken(answer)
        case status:
            return Outcome.unknown(f"http_{status}")


def _refused(answer: Answer) -> Outcome:
    """Return the outcome of a 4xx answer.

    If the answer has a sentence that is in our list (`PHRASES`), the list decides. Otherwise the status decides.
    """
    text, reason = _text(answer.body), f"http_{answer.status}"
    word = find_phrase(text, PHRASES)
    if word is not None:
        outcome = outcome_of(reason, word.means, word.wait_s)
    elif answer.status == 403 and text:
        outcome = outcome_of(reason, Meaning.ACCOUNT)
    elif text and answer.status not in (401, 429):
        outcome = outcome_of(reason, Meaning.UNLISTED)
    else:
        outcome = unspoken(answer)
    return replace(outcome, text=text or outcome.text or reason)


def _text(body: bytes) -> str:
    """Return SendGrid's errors as lines of `field: message`, or "" if the answer is not in SendGrid's format."""
    errors = read_object(body).get("errors")
    found = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    told = [error for error in found if isinstance(error.get("message"), str)]
    return "\n".join(f"{error.get('field')}: {error['message']}" for error in told)[:TEXT_MAX]


REACHED = ("delivered", "open", "click", "spamreport", "unsubscribe", "group_unsubscribe")
"""Events that only a mail which reached its mailbox can have."""
RECEIPT_WORDS = {
    **dict.fromkeys(("processed", *REACHED), True),
    **dict.fromkeys(("bounce", "blocked", "dropped"), False),
}
EVENTS_MAX = 10_000
"""The most events in a call-back. This limit is a few hundred times as high as what SendGrid sends at once."""


EVENTS = "https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event"
DROPPED = (
    phrase(r"^(Unsubscribed|Spam Reporting) Address$", Meaning.FINAL, EVENTS),  # the recipient's own wish
    phrase(r"over Package Quota", Meaning.ACCOUNT, EVENTS, DAILY_S),
)
"""The meanings of the reasons of `dropped`. Any other mail that SendGrid dropped goes to the next vendor."""


def _late_refusal(word: str, event: Mapping[str, Any]) -> LateRefusal | None:
    """Return why SendGrid dropped a mail, or why the recipient's server bounced it; None for any other event.

    A bounce repeats what the recipient's server answered to SendGrid. If that server complains about the sender's
    address or sending rate, the complaint is about SendGrid's servers, and not about our account.
    """
    if word not in ("dropped", "bounce", "blocked"):
        return None
    text = f"{event.get('reason') or ''}"[:TEXT_MAX]
    reply = re.match(r"([45]\d\d)[ -]", text)
    if word == "dropped":
        found = find_phrase(text, DROPPED)
        told, wait_s = (found.means, found.wait_s) if found else (Meaning.UNLISTED, None)
        outcome = outcome_of("sendgrid_dropped", told, wait_s)
    else:
        code, said = (int(reply[1]), text[4:]) if reply else (550, f"{event.get('status') or ''} {text}")
        means = meaning_of(code, said, mailed=True, named=True).means
        told = means if means in (Meaning.FINAL, Meaning.DEFERRED) else Meaning.UNLISTED
        if told is Meaning.FINAL and "blocked" in (word, word_of(event.get("type"))):
            told = Meaning.UNLISTED  # SendGrid itself does not take the address for a wrong one
        outcome = outcome_of("sendgrid_bounce", told)
    return LateRefusal(replace(outcome, text=text or word), True, _message_id(event))


def _told(marks: Mapping[str, Any], event: Mapping[str, Any]) -> Told:
    nid, token, call = (str(marks.get(name, "")) for name in ("nid", "ntoken", "ncall"))
    word, message_id = word_of(event.get("event")), _message_id(event)
    return Told(nid, token, RECEIPT_WORDS.get(word), word in REACHED, _late_refusal(word, event), call, message_id)


def _message_id(event: Mapping[str, Any]) -> str:
    return str(event.get("sg_message_id") or "")


def read_call_back(query: Mapping[str, str], body: bytes) -> list[Told]:
    events = json_of(body)
    if isinstance(events, dict) and (told := _of_event(events)):  # some forwarders send one event without a list
        return told
    if not isinstance(events, list) or len(events) > EVENTS_MAX:
        raise CallerError("body", f"must be a list of at most {EVENTS_MAX} events", 400)
    return [found for event in events if isinstance(event, dict) for found in _of_event(event)]


def _of_event(event: Mapping[str, Any]) -> list[Told]:
    """Return the receipt of one event in a list. The list is empty if this service did not send the mail.

    The id and the token are fields of the event, or of its `custom_args` or `unique_args`.
    """
    for marks in (event, event.get("custom_args"), event.get("unique_args")):
        if isinstance(marks, dict) and "nid" in marks:
            return [_told(marks, event)]
    return []


SENDGRID = Provider(
    "sendgrid", ("email",), SendGridOptions, SendGrid, read_call_back, phrases=PHRASES, calls_max=CALLS_MAX
)
