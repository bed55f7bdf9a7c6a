"""SMTP: one recipient per transaction, over a few kept connections.

Whether the server may have the message turns on the final dot: before it nothing was taken (`failed`); a connection
lost after it, before the answer, is unknown. The Message-ID is ours and kept over retries, so that a receiving server
that removes repeats can.

What a no means is decided by `meaning_of`, in this order: a listed phrase; the enhanced code (RFC 3463); the moment.
Before the sender was taken (greeting, EHLO, AUTH, MAIL) a 5xx is about our account, for no recipient has been named.
After that a 5xx alone proves nothing: Postfix, by default, keeps what it has against client or sender until RCPT, and
Gmail and SES say there that a quota is used up. A 4xx to RCPT is this recipient's, for now: greylisting, a full box.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from dataclasses import replace
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import formatdate

import aiosmtplib
from pydantic import model_validator

from dispatcher.adapters.vendors.fields import ADDRESS, EmailFrom, Flag, Host, Options, Port, Secret, Text
from dispatcher.adapters.vendors.http import TEXT_MAX
from dispatcher.adapters.vendors.provider import Provider
from dispatcher.core.life.message import Message
from dispatcher.core.life.outcome import DAILY_S, Meaning, Outcome, Scope, Word, find_phrase, listed, outcome_of, phrase

CONNECTIONS_MAX = 16

UNAUTHENTICATED = (530, 534, 535, 538)
"""RFC 4954, section 6: about our credentials, at whatever command."""

RFC_3463 = "RFC 3463, section 3"
GMAIL = "https://support.google.com/a/answer/3726730"
SES = "https://docs.aws.amazon.com/ses/latest/dg/troubleshoot-smtp.html"
POSTFIX = "https://www.postfix.org/postconf.5.html"
PHRASES = (
    phrase(r"receiving mail (too quickly|at a rate)", Meaning.DEFERRED, GMAIL),  # also said with a final code
    phrase(r"(daily|hourly)[\w ]*(quota|limit)", Meaning.ACCOUNT, GMAIL, DAILY_S),
    phrase(r"Daily message quota exceeded|sending paused|Sending suspended", Meaning.ACCOUNT, SES, DAILY_S),
    phrase(r"Maximum credits exceeded", Meaning.ACCOUNT, "https://www.twilio.com/docs/sendgrid", DAILY_S),
    phrase(r"Maximum sending rate exceeded|Throttling failure", Meaning.RATE, SES),
    phrase(r"too much mail", Meaning.RATE, POSTFIX),  # anvil's limits of a client
    phrase(r"Helo command rejected", Meaning.ACCOUNT, POSTFIX),
    phrase(r"Sender address rejected|not owned by user", Meaning.ACCOUNT, POSTFIX),
    phrase(r"SendAsDenied|permissions to send as this sender", Meaning.ACCOUNT, "Exchange Online NDR 5.7.60"),
)
"""Sentences of relays that decide before any code does, because their codes say something else."""

ENHANCED = (
    listed(Meaning.FINAL, RFC_3463, "5.1.1", "5.1.3", "5.1.6", "5.2.1")  # no such mailbox, syntax, moved, disabled
    | listed(Meaning.FINAL, "RFC 7505, section 4.3", "5.1.10")  # a domain that accepts no mail
    | listed(Meaning.DEFERRED, RFC_3463, "5.2.2")  # a full mailbox
    | listed(Meaning.ACCOUNT, RFC_3463, "5.1.7", "5.1.8", "4.1.7", "4.1.8", "5.7.8")  # our sender, our credentials
    | listed(Meaning.ACCOUNT, GMAIL, "5.4.5", wait_s=DAILY_S)  # the daily sending quota
)
"""What enhanced status codes mean once a recipient was named. Every other 5xx goes to the next vendor."""
ENHANCED_CODE = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")


class SmtpOptions(Options):
    """A relay, a login or none, and the address to send from, with a display name or without."""

    host: Host
    port: Port = 587
    username: Text | None = None
    password: Secret | None = None
    starttls: Flag = True
    sender: EmailFrom

    @model_validator(mode="after")
    def _login_is_whole(self) -> SmtpOptions:
        for name, other in (("username", "password"), ("password", "username")):
            if getattr(self, name) is None and getattr(self, other) is not None:
                raise ValueError(f"{name}: is needed, {other} is there")
        return self


class Smtp:
    """One SMTP relay and sender."""

    def __init__(self, name: str, channel: str, options: SmtpOptions) -> None:
        self.name, self.channel = name, channel
        self._host, self._port, self._starttls = options.host, options.port, options.starttls
        self._username, self._password = options.username, options.password
        self._sender, self._domain = options.sender.address, options.sender.domain
        self._from = Address(options.sender.name, addr_spec=options.sender.address)
        self._idle: list[aiosmtplib.SMTP] = []
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        if not ADDRESS.match(message.to) or _has_control(message.subject or ""):
            return Outcome.rejected("bad_header", Scope.RECIPIENT)
        step = _Step()
        try:
            return await asyncio.wait_for(self._in_turn(message, step), timeout_s)
        except (asyncio.TimeoutError, TimeoutError, aiosmtplib.SMTPTimeoutError):
            return (
                Outcome.unknown("timeout") if step.dotted else Outcome.failed("timeout", local_origin=not step.greeted)
            )
        except aiosmtplib.SMTPResponseException as error:  # before OSError: a greeting that is a no is both
            return _refused(error.code, error.message, step) if _is_no(error.code) else _no_answer(step)
        except (aiosmtplib.SMTPConnectError, aiosmtplib.SMTPServerDisconnected, OSError) as error:
            if step.dotted:
                return Outcome.unknown("connection_lost")
            return Outcome.failed(_not_sent(error), local_origin=not step.greeted)
        except aiosmtplib.SMTPException:
            return _no_answer(step)
        except ValueError:  # what cannot be put on the wire: before MAIL it is our configuration
            return _not_writable(step)

    async def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _in_turn(self, message: Message, step: _Step) -> Outcome:
        async with self._slots:
            return await self._transaction(message, step)

    async def _transaction(self, message: Message, step: _Step) -> Outcome:
        connection = await self._connection()
        step.greeted = True
        kept = False
        try:
            await connection.mail(self._sender)
            step.mailed = True
            await connection.rcpt(message.to)
            step.named = True
            content = self._content(message)
            step.dotted = True  # from here on the final dot may have left
            response = await connection.data(content)
            kept = True
        except aiosmtplib.SMTPResponseException as error:
            if not _is_no(error.code):
                raise
            step.dotted = False  # the server answered: it did not take it
            if not step.mailed:
                raise  # what it has against us may be this connection's
            with contextlib.suppress(Exception):
                await asyncio.wait_for(connection.rset(), 1.0)
                kept = connection.is_connected
            raise
        finally:
            if kept:
                self._idle.append(connection)
            else:
                connection.close()
        return (
            Outcome.accepted(f"{message.notification_id}@{self._domain}")
            if response.code == 250
            else _refused(response.code, response.message, step)
        )

    async def _connection(self) -> aiosmtplib.SMTP:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_connected:
                return connection
        connection = aiosmtplib.SMTP(hostname=self._host, port=self._port, start_tls=self._starttls)
        try:
            await connection.connect()
            if self._username is not None and self._password is not None:
                await connection.login(self._username, self._password.get_secret_value())
        except RuntimeError as error:  # no thread to be had for the look-up of its name
            connection.close()
            raise OSError(None, str(error)) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _content(self, message: Message) -> bytes:
        mail = EmailMessage(policy=SMTP_POLICY)
        mail["From"], mail["To"] = self._from, message.to
        mail["Subject"] = message.subject or ""
        mail["Date"] = formatdate()
        mail["Message-ID"] = f"<{message.notification_id}@{self._domain}>"
        mail.set_content(message.text)
        if message.html is not None:
            mail.add_alternative(message.html, subtype="html")
        return bytes(mail)


class _Step:
    """How far a transaction came."""

    def __init__(self) -> None:
        self.greeted = False
        self.mailed = False  # it took the sender
        self.named = False  # it took the recipient
        self.dotted = False


def _is_no(code: int) -> bool:
    """Whether a server said no. aiosmtplib raises the same, with code -1, of what is no SMTP reply or has no end."""
    return 400 <= code < 600


def _not_writable(step: _Step) -> Outcome:
    if step.dotted:
        return Outcome.unknown("not_writable")
    if not step.mailed:
        return Outcome.failed("not_writable", scope=Scope.ACCOUNT)
    return Outcome.rejected("not_writable", Scope.MESSAGE if step.named else Scope.RECIPIENT)


def _no_answer(step: _Step) -> Outcome:
    return Outcome.unknown("smtp_protocol") if step.dotted else Outcome.failed("smtp_protocol")


def _refused(code: int, text: str, step: _Step) -> Outcome:
    word = meaning_of(code, text, mailed=step.mailed, named=step.named)
    outcome = outcome_of(f"smtp_{code}", word.means, word.wait_s)
    return replace(outcome, text=f"{code} {text}"[:TEXT_MAX])


def meaning_of(code: int, text: str, *, mailed: bool, named: bool) -> Word:
    """Return what a 4xx or 5xx means. `mailed`: the sender was taken; `named`: the recipient too."""
    spoken = find_phrase(text, PHRASES)
    if spoken is not None:
        return spoken
    if code == 421:
        return Word(Meaning.RATE, "RFC 5321, section 3.8")
    if code in UNAUTHENTICATED:
        return Word(Meaning.ACCOUNT, "RFC 4954, section 6")
    if not mailed:
        return Word(Meaning.ACCOUNT if code >= 500 else Meaning.VENDOR, "RFC 5321, section 4.2.1")
    found = ENHANCED_CODE.search(text)
    enhanced = found[1] if found else ""
    if enhanced in ENHANCED:
        return ENHANCED[enhanced]
    if code >= 500:
        return Word(Meaning.UNLISTED, "no list names it")
    if named and not enhanced.startswith(("4.2.", "4.7.")):
        return Word(Meaning.VENDOR, "RFC 5321, section 4.2.1")
    # RFC 3463: 4.3.x is the mail system's own trouble. Any other 4xx to RCPT is this recipient's, such as greylisting.
    own_trouble = enhanced.startswith("4.3.")
    return Word(Meaning.VENDOR if own_trouble else Meaning.DEFERRED, "RFC 5321, section 4.5.4.1; RFC 6647")


def _not_sent(error: BaseException | None) -> str:
    """By what lies under the client's own error."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return "tls"
        if isinstance(error, socket.gaierror):
            return "dns"
        error = error.__cause__ or error.__context__
    return "connect"


def _has_control(text: str) -> bool:
    return any(ord(character) < 32 or ord(character) == 127 for character in text)


SMTP = Provider("smtp", ("email",), SmtpOptions, Smtp, words=ENHANCED, phrases=PHRASES)
