"""The types that providers' options use: text, secret, port, URL, host, sender.

Each type checks a value whose secret references are resolved. The JSON Schema of a type gives editors the same rule, as
far as a schema can express the rule.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema

from dispatcher.wire.mail_address import ascii_domain, with_ascii_domain

ADDRESS = re.compile(r"^[^\s,;:<>()\[\]\\\"\x00-\x1f\x7f@]{1,64}@[A-Za-z0-9.-]{1,255}$")
"""The pattern of a single e-mail address, without a display name.

The pattern allows nothing that could become a second recipient, a header or a parameter of an SMTP command.
"""

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"^{_LABEL}(?:\.{_LABEL})*\.?$")
_NAMED = re.compile(r"^(?P<name>.*?)\s*<\s*(?P<address>[^<>]*?)\s*>$")
_PRIVATE_SUFFIXES = ("localhost", "local", "internal", "lan", "home.arpa", "invalid")


class Options(BaseModel):
    """The base class of every provider's options. An unknown option is an error, and no error message shows a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


def _text(value: str) -> str:
    value = value.strip()
    if not value:
        raise ValueError("must not be empty")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must not contain a line end or another control character")
    return value


def _secret(value: SecretStr) -> SecretStr:
    return SecretStr(_text(value.get_secret_value()))


Text = Annotated[str, AfterValidator(_text)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]


def _text_as_number(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value.strip()):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    return value


def _text_as_flag(value: Any) -> Any:
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower(), value)
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


Port = Annotated[int, Field(ge=1, le=65535), BeforeValidator(_text_as_number)]
"""A port number. Digits in a text are accepted too, because a reference always gives a text."""
Flag = Annotated[bool, BeforeValidator(_text_as_flag)]


# Places in a network --------------------------------------------------------------------------------------------------


def host_fault(host: str) -> str | None:
    """Return the rule that `host` breaks, or None if `host` is a host name or an IP address."""
    try:
        ipaddress.ip_address(host)
        return None
    except ValueError:
        pass
    last = host.rstrip(".").rpartition(".")[2]
    if len(host) > 253 or not _HOST_NAME.match(host) or last.isdigit():
        return "must have a host name or an IP address"
    return None


def url_fault(url: str) -> str | None:
    """Return what is wrong with `url` as the address of a service, or None if it is right.

    The URL must have the scheme http or https, a host and a valid port, and no user, query or fragment.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "must be a URL with a host and a port that can be read"
    if parts.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    if not parts.hostname:
        return "must have a host"
    if parts.username is not None or parts.password is not None:
        return "must not contain a user or a password"
    if "?" in url or "#" in url or not url.isascii() or not url.isprintable() or " " in url:
        return "must not contain a query, a fragment, a space or a character that is not ASCII"
    return "must have a port from 1 to 65535" if port == 0 else host_fault(parts.hostname)


def reachable_from_outside(url: str) -> bool:
    """Return False if no provider on the Internet can call `url`.

    No provider can call a loopback or private address, or a host name without a dot or with a private suffix.
    """
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." in host and not any(host.endswith("." + suffix) for suffix in _PRIVATE_SUFFIXES)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_global and not address.is_multicast


def _url(value: str) -> str:
    value = _text(value)
    fault = url_fault(value)
    if fault is not None:
        raise ValueError(fault)
    return value.rstrip("/")


def _host(value: str) -> str:
    value = _text(value)
    if not value.isascii():
        value = ascii_domain(value)
    if "://" in value:
        raise ValueError("must be a host name without a scheme")
    if host_fault(value) is not None and host_fault(value.rpartition(":")[0]) is None:
        raise ValueError("must be a host name alone; the port is an option of its own")
    fault = host_fault(value)
    if fault is not None:
        raise ValueError("must be a host name or an IP address")
    return value


def _ca_file(value: str) -> str:
    value = _text(value)
    try:
        context = ssl.create_default_context(cafile=value)
    except (OSError, ValueError):  # an SSLError is an OSError
        raise ValueError("must be a file of certificates (PEM) that can be read") from None
    if not context.get_ca_certs():
        raise ValueError("must be a file with the certificate of an authority")
    return value


CaFile = Annotated[str, AfterValidator(_ca_file)]
"""The path of a file with certificate authorities, which replace the machine's authorities."""
Url = Annotated[str, AfterValidator(_url)]
Host = Annotated[str, AfterValidator(_host)]


# Senders --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EmailSender:
    """The sender of a mail: the address for the envelope, and a display name that may be empty."""

    address: str
    name: str = ""

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


SENDER_CHARS_MAX = 500


def parse_email_sender(value: Any) -> EmailSender:
    """Return the sender that a text names.

    The text is `shop@example.com`, `Shop <shop@example.com>` or `"Shop, Inc." <shop@example.com>`. Raises ValueError
    for anything else.
    """
    if isinstance(value, EmailSender):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a text")
    text = _text(value)
    if len(text) > SENDER_CHARS_MAX:
        raise ValueError(f"must have at most {SENDER_CHARS_MAX} characters")
    named = _NAMED.match(text)
    name, address = (named["name"], named["address"]) if named else ("", text)
    if len(name) >= 2 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    elif any(character in name for character in ',;:@"<>()[]\\'):
        raise ValueError("must have double quotes around a display name with , ; : @ or brackets")
    if not address.isascii():
        address = with_ascii_domain(address) or ""
    if not ADDRESS.match(address) or host_fault(address.rpartition("@")[2]) is not None:
        raise ValueError("must be one e-mail address, alone or as: Shop <shop@example.com>")
    return EmailSender(address, name.strip())


_NUMBER = re.compile(r"^\+?[1-9][0-9]{6,14}$")
_SHORT_CODE = re.compile(r"^[0-9]{3,8}$")
_ALPHANUMERIC = re.compile(r"^(?=.*[A-Za-z])[A-Za-z0-9 &+_.-]{1,11}$")


def parse_sms_sender(value: str) -> str:
    """Return `value` if it is a phone number (E.164), a short code, or a name of 1 to 11 characters.

    A name may contain letters, digits, spaces and `&+_.-`. Raises ValueError for anything else.
    """
    text = _text(value)
    if _NUMBER.match(text) or _SHORT_CODE.match(text) or _ALPHANUMERIC.match(text):
        return text
    raise ValueError("must be a number like +4915112345678, a short code, or 1 to 11 letters and digits")


EmailFrom = Annotated[EmailSender, BeforeValidator(parse_email_sender), WithJsonSchema({"type": "string"})]
SmsFrom = Annotated[str, AfterValidator(parse_sms_sender)]
