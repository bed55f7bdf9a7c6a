"""SMTP: one recipient per transaction, over a few kept connections.

Whether the server may have the message turns on the final dot: before it nothing was taken (`failed`); a connection
lost after it, before the answer, is unknown. The Message-ID is ours and kept over retries, so that a receiving server
that removes repeats can.

Whom a permanent no is about turns on when it came. Before the sender was taken (greeting, EHLO, AUTH, MAIL) it is the
account: no recipient has been named. So it is at RCPT where the reply says so, for some servers (Postfix, by default)
keep what they have against client or sender until then. Else it is the recipient's, and after RCPT the message's.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import formatdate

import aiosmtplib
from pydantic import model_validator

from dispatcher.adapters.vendors.fields import ADDRESS, EmailFrom, Flag, Host, Options, Port, Secret, Text
from dispatcher.adapters.vendors.provider import Provider
from dispatcher.core.message import Message
from dispatcher.core.outcome import Outcome, Scope

CONNECTIONS_MAX = 16

UNAUTHENTICATED = (530, 534, 535, 538)
"""RFC 4954, section 6: about our credentials, at whatever command."""
OUR_SENDER = re.compile(r"5\.1\.[78]\b|5\.7\.8\b")
"""RFC 3463 and 4954: the sender's address, our credentials."""
POLICY = re.compile(r"5\.7\.\d")
"""RFC 3463: not permitted. Of RCPT mostly "relay access denied", which is ours, but it may be this recipient's."""


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
    """What a no of the server means. An account's sends this message elsewhere and opens the breaker."""
    reason = f"smtp_{code}"
    if code == 421:
        return Outcome.throttled(reason)
    if 400 <= code < 500:
        return Outcome.failed(reason)
    if not step.mailed or code in UNAUTHENTICATED:
        return Outcome.failed(reason, scope=Scope.ACCOUNT)
    if step.named:
        return Outcome.rejected(reason, Scope.MESSAGE)
    if OUR_SENDER.match(text):
        return Outcome.failed(reason, scope=Scope.ACCOUNT)
    return Outcome.failed(reason) if POLICY.match(text) else Outcome.rejected(reason, Scope.RECIPIENT)


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


SMTP = Provider("smtp", ("email",), SmtpOptions, Smtp)
