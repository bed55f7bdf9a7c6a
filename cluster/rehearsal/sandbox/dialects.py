"""Defines the providers' wire formats: how a correct request looks, and how a call is accepted, refused or failed."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs

TWILIO_PATH = re.compile(r"^/2010-04-01/Accounts/[^/]+/Messages\.json$")
E164 = re.compile(r"^\+?[1-9]\d{6,14}$")


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: Mapping[str, str] = {}
    media: str = "application/json"


class Asked(NamedTuple):
    """The parts of a request to a sandbox vendor: the recipient, the text and so on.

    For a wrong request, `error` is the error with which the real provider would answer.
    """

    to: str = ""
    text: str = ""
    subject: str | None = None
    error: Reply | None = None
    receipt_url: str | None = None
    reference: str = ""
    sender: str = ""


class Dialect:
    """The wire format of one provider."""

    name = ""

    def read(self, headers: Mapping[str, str], body: bytes) -> Asked:
        raise NotImplementedError

    def accepted(self) -> tuple[Reply, str]:
        raise NotImplementedError

    def rejected(self) -> Reply:
        raise NotImplementedError

    def receipt(self, message_id: str, reference: str) -> dict[str, str]:
        """Return the form fields of a call-back that reports the message as delivered.

        `reference` is the text of the caller that the provider repeats in it.
        """
        raise NotImplementedError

    def listing(
        self, headers: Mapping[str, str], query: Mapping[str, str], deliveries: Sequence[Mapping[str, Any]]
    ) -> Reply:
        """Answer a status look-up of this provider with those `deliveries` that match the query. The base class answers
        404.
        """
        return Reply(404, b'{"error": "this provider has no status look-up"}')

    def broken(self) -> Reply:
        return Reply(500, b'{"message": "Internal Server Error"}')

    def throttled(self, retry_after_s: float) -> Reply:
        return Reply(429, b'{"message": "Too Many Requests"}', {"Retry-After": f"{retry_after_s:g}"})


class TwilioDialect(Dialect):
    name = "twilio"

    def read(self, headers: Mapping[str, str], body: bytes) -> Asked:
        if not headers.get("Authorization", "").startswith("Basic "):
            return Asked(error=_twilio(401, 20003, "Authenticate"))
        form = _form(body)
        if not E164.match(form.get("To", "")):
            return Asked(error=_twilio(400, 21211, "The 'To' number is not a valid phone number."))
        if "From" not in form and "MessagingServiceSid" not in form:
            return Asked(error=_twilio(400, 21603, "A 'From' phone number is required."))
        if not form.get("Body"):
            return Asked(error=_twilio(400, 21602, "Message body is required."))
        sender = form.get("From", "")
        return Asked(form["To"], form["Body"], receipt_url=form.get("StatusCallback"), sender=sender)

    def listing(
        self, headers: Mapping[str, str], query: Mapping[str, str], deliveries: Sequence[Mapping[str, Any]]
    ) -> Reply:
        if not headers.get("Authorization", "").startswith("Basic "):
            return _twilio(401, 20003, "Authenticate")
        found = [
            d
            for d in reversed(deliveries)
            if query.get("To", d["to"]) == d["to"]
            and query.get("From", d["from"]) == d["from"]
            and query.get("DateSent>", "") <= time.strftime("%Y-%m-%d", time.gmtime(d["t"]))
        ]
        size = int(query.get("PageSize", "50"))
        rows = [
            {
                "sid": d["id"],
                "to": d["to"],
                "from": d["from"],
                "body": d["text"],
                "status": "delivered",
                **dict.fromkeys(("date_created", "date_sent", "date_updated"), _rfc_2822(d["t"])),
                "direction": "outbound-api",
                "error_code": None,
                "error_message": None,
            }
            for d in found[:size]
        ]
        more = "/2010-04-01/Accounts/AC/Messages.json?Page=1" if len(found) > size else None
        return Reply(200, json.dumps({"messages": rows, "page_size": size, "next_page_uri": more}).encode())

    def accepted(self) -> tuple[Reply, str]:
        sid = "SM" + secrets.token_hex(16)
        return Reply(201, json.dumps({"sid": sid, "status": "queued", "error_code": None}).encode()), sid

    def receipt(self, message_id: str, reference: str) -> dict[str, str]:
        return {"MessageSid": message_id, "MessageStatus": "delivered"}

    def rejected(self) -> Reply:
        return _twilio(400, 21610, "Attempt to send to unsubscribed recipient")

    def broken(self) -> Reply:
        return _twilio(500, 20500, "Internal Server Error")

    def throttled(self, retry_after_s: float) -> Reply:
        return _twilio(429, 20429, "Too Many Requests")._replace(headers={"Retry-After": f"{retry_after_s:g}"})


VONAGE_CHARS_MAX = 100
"""The most characters of a reference and of a call-back address, as Vonage's description of its API says."""


class VonageDialect(Dialect):
    name = "vonage"

    def read(self, headers: Mapping[str, str], body: bytes) -> Asked:
        form = _form(body)
        if not form.get("api_key") or not form.get("api_secret"):
            return Asked(error=_vonage("4", "Bad Credentials"))
        for name in ("to", "from", "text"):
            if not form.get(name):
                return Asked(error=_vonage("2", f"Missing {name} param"))
        if not E164.match(form["to"]):
            return Asked(error=_vonage("3", "Invalid value for param: to"))
        if len(form.get("client-ref", "")) > VONAGE_CHARS_MAX:
            return Asked(error=_vonage("22", "Invalid client-ref"))
        if len(form.get("callback", "")) > VONAGE_CHARS_MAX:
            return Asked(error=_vonage("23", "Invalid callback URL"))
        return Asked(
            "+" + form["to"].lstrip("+"),
            form["text"],
            receipt_url=form.get("callback"),
            reference=form.get("client-ref", ""),
        )

    def accepted(self) -> tuple[Reply, str]:
        number = secrets.token_hex(8).upper()
        part = {"to": "", "message-id": number, "status": "0", "remaining-balance": "3.14", "message-price": "0.03"}
        return Reply(200, json.dumps({"message-count": "1", "messages": [part]}).encode()), number

    def receipt(self, message_id: str, reference: str) -> dict[str, str]:
        return {"messageId": message_id, "status": "delivered", "err-code": "0", "client-ref": reference}

    def rejected(self) -> Reply:
        return _vonage("7", "Number barred")

    def throttled(self, retry_after_s: float) -> Reply:
        return _vonage("1", "Throughput rate exceeded")


class SendGridDialect(Dialect):
    name = "sendgrid"

    def read(self, headers: Mapping[str, str], body: bytes) -> Asked:
        if not headers.get("Authorization", "").startswith("Bearer "):
            return Asked(error=_sendgrid(401, "authorization required", None))
        try:
            mail = json.loads(body)
            to = [address["email"] for p in mail["personalizations"] for address in p["to"]]
            subject, texts = mail["subject"], {part["type"]: part["value"] for part in mail["content"]}
            sender = mail["from"]["email"]
        except (ValueError, KeyError, TypeError):
            return Asked(error=_sendgrid(400, "Bad Request", "personalizations"))
        if len(to) != 1 or "@" not in to[0]:
            return Asked(error=_sendgrid(400, "Does not contain a valid address.", "personalizations.0.to.0.email"))
        if not sender or not subject or "text/plain" not in texts:
            return Asked(error=_sendgrid(400, "The from, subject and content are required.", "from"))
        return Asked(to[0], texts["text/plain"], subject)

    def accepted(self) -> tuple[Reply, str]:
        number = secrets.token_urlsafe(16)
        return Reply(202, b"", {"X-Message-Id": number}, "text/plain"), number

    def rejected(self) -> Reply:
        return _sendgrid(400, "Does not contain a valid address.", "personalizations.0.to.0.email")


def find(path: str) -> tuple[str, Dialect] | None:
    """Return the vendor's name and dialect for a request path, or None if no provider has such a path.

    A path is `/{vendor}`, followed by the provider's own path.
    """
    vendor, _, rest = path.removeprefix("/").partition("/")
    rest = "/" + rest
    if TWILIO_PATH.match(rest):
        return vendor, TWILIO
    if rest == "/sms/json":
        return vendor, VONAGE
    if rest == "/v3/mail/send":
        return vendor, SENDGRID
    return None


TWILIO, VONAGE, SENDGRID = TwilioDialect(), VonageDialect(), SendGridDialect()


def _rfc_2822(epoch_s: float) -> str:
    """Return the time as RFC 2822 text, in whole seconds and UTC."""
    return time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(epoch_s))


def _form(body: bytes) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _twilio(status: int, code: int, message: str) -> Reply:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return Reply(status, json.dumps({"code": code, "message": message, "more_info": more, "status": status}).encode())


def _vonage(status: str, text: str) -> Reply:
    return Reply(200, json.dumps({"message-count": "1", "messages": [{"status": status, "error-text": text}]}).encode())


def _sendgrid(status: int, message: str, field: Any) -> Reply:
    return Reply(status, json.dumps({"errors": [{"message": message, "field": field, "help": None}]}).encode())
