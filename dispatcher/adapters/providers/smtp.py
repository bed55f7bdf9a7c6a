"""SMTP: each transaction has one recipient, and a few connections are kept open.

The final dot decides whether the server may have the message. Before the final dot the server has accepted nothing, so
the outcome is `failed`. If the connection breaks after the final dot and before the answer, the outcome is unknown.
This service sets the Message-ID. The Message-ID stays the same in every retry, so a receiving server can remove
repeats.

A kept connection may be dead without any sign. So the server must answer MAIL soon on such a connection. Without an
answer, the mail is sent once more over a new connection. This is safe, because the server has accepted nothing of the
mail before it answers MAIL.

`smtp_words` decides what a refusal means.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import time
from dataclasses import replace
from email.utils import formatdate

import aiosmtplib
from aiohappyeyeballs import start_connection
from pydantic import SecretStr

from dispatcher.adapters.providers.fields import ADDRESS
from dispatcher.adapters.providers.http import TEXT_MAX
from dispatcher.adapters.providers.oauth import NoTokenError, Tokens
from dispatcher.adapters.providers.provider import Provider
from dispatcher.adapters.providers.smtp_options import SmtpOptions
from dispatcher.adapters.providers.smtp_words import CLOSING, ENHANCED, PHRASES, meaning_of
from dispatcher.core.life.mail import address_header, header, write_mail
from dispatcher.core.life.outcome import Outcome, Scope, outcome_of
from dispatcher.core.life.rendered_message import Message

CONNECTIONS_MAX = 16
IDLE_S_MAX = 60.0
"""The longest time in seconds for which a connection may be idle before its next use.

Load balancers and servers drop a quiet connection after minutes, often without telling us.
"""

PROBE_S_MAX = 2.0
"""The longest time in seconds in which a kept connection must answer MAIL.

After that the mail goes over a new connection.
"""

HAPPY_EYEBALLS_S = 0.25
"""The time in seconds without an answer after which the next address is tried as well (RFC 8305, section 5)."""


class Smtp:
    """A vendor: one SMTP relay with one sender."""

    def __init__(self, name: str, channel: str, options: SmtpOptions) -> None:
        self.name, self.channel = name, channel
        self._host, self._port, self._protection = options.host, options.port, options.protection
        self._username, self._password = options.username, options.password
        self._ca_file = options.ca_file
        self._context: ssl.SSLContext | None = None
        self._sender, self._domain = options.sender.address, options.sender.domain
        self._helo_name = _spoken(options.helo_name or self._domain)
        self._options, self._headers = options, _fixed_headers(options)
        self._tokens = None if options.oauth is None else Tokens(options.oauth)
        self._idle: list[tuple[aiosmtplib.SMTP, float]] = []  # each with the time at which it was last used
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        """Send one mail. The wait for a free connection and the sending itself may each take `timeout_s` seconds."""
        if not ADDRESS.match(message.to) or not message.to.isascii() or _has_control(message.subject or ""):
            return Outcome.rejected("bad_header", Scope.RECIPIENT)
        try:
            content = self._content(message)
        except UnicodeEncodeError:  # a lone surrogate
            return Outcome.rejected("not_writable", Scope.MESSAGE)
        try:
            await asyncio.wait_for(self._slots.acquire(), timeout_s)
        except (asyncio.TimeoutError, TimeoutError):
            return Outcome.throttled("no_free_connection")
        try:
            return await self._in_slot(message, content, timeout_s)
        finally:
            self._slots.release()

    async def close(self) -> None:
        for connection, _ in self._idle:
            connection.close()
        self._idle.clear()
        if self._tokens is not None:
            await self._tokens.close()

    async def _in_slot(self, message: Message, content: bytes, timeout_s: float) -> Outcome:
        step = _Step()
        try:
            return await asyncio.wait_for(self._transaction(message, content, step, timeout_s), timeout_s)
        except (asyncio.TimeoutError, TimeoutError, aiosmtplib.SMTPTimeoutError):
            return (
                Outcome.unknown("timeout") if step.dotted else Outcome.failed("timeout", local_origin=not step.greeted)
            )
        except aiosmtplib.SMTPResponseException as error:  # before OSError, because a refusing greeting is both
            return _refused(error.code, error.message, step) if _is_no(error.code) else _no_answer(step)
        except (aiosmtplib.SMTPConnectError, aiosmtplib.SMTPServerDisconnected, OSError) as error:
            if step.dotted:
                return Outcome.unknown("connection_lost")
            return Outcome.failed(_not_sent(error), local_origin=not step.greeted)
        except aiosmtplib.SMTPException as error:
            if type(error) is aiosmtplib.SMTPException and not step.greeted:  # no STARTTLS, or no AUTH that we know
                return Outcome.failed("not_offered", scope=Scope.ACCOUNT)
            return _no_answer(step)
        except NoTokenError as error:
            return error.outcome
        except ValueError:  # something cannot be encoded; before MAIL the configuration is at fault
            return _not_writable(step)

    async def _transaction(self, message: Message, content: bytes, step: _Step, timeout_s: float) -> Outcome:
        kept = self._kept()
        if kept is not None:
            step.greeted = True
            try:
                return await self._over(kept, message, content, step, probe_s=min(PROBE_S_MAX, timeout_s / 4))
            except (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPTimeoutError, ConnectionError):
                if step.dotted:
                    raise
            except aiosmtplib.SMTPResponseException as error:
                if step.dotted or step.named or error.code != CLOSING:  # 421: its last mail, or it is idle for too long
                    raise
            step.greeted = step.mailed = step.named = False
        connection = await self._connect()
        step.greeted = True
        return await self._over(connection, message, content, step, probe_s=None)

    async def _over(
        self, connection: aiosmtplib.SMTP, message: Message, content: bytes, step: _Step, *, probe_s: float | None
    ) -> Outcome:
        """Send the mail over `connection`. The connection is kept if it can carry another mail, otherwise closed.

        `probe_s` is the time in seconds in which the server must answer MAIL, or None for the usual time-out.
        """
        kept = False
        try:
            await connection.mail(self._sender, timeout=probe_s)
            step.mailed = True
            await connection.rcpt(message.to)
            step.named = True
            step.dotted = True  # from here on the final dot may have left
            response = await connection.data(content)
            kept = True
        except aiosmtplib.SMTPResponseException as error:
            if not _is_no(error.code):
                raise
            step.dotted = False  # the server answered: it did not accept the message
            if not step.mailed:
                raise  # the cause may be the connection, so it is not kept
            with contextlib.suppress(Exception):
                await asyncio.wait_for(connection.rset(), 1.0)
                kept = connection.is_connected
            raise
        finally:
            if kept:
                self._keep(connection)
            else:
                connection.close()
        return (
            Outcome.accepted(f"{message.notification_id}@{self._domain}")
            if response.code == 250
            else _refused(response.code, response.message, step)
        )

    def _keep(self, connection: aiosmtplib.SMTP) -> None:
        """Keep `connection` for another mail, and close those that were idle for too long, as after a peak."""
        now_s = time.monotonic()
        while self._idle and now_s - self._idle[0][1] >= IDLE_S_MAX:  # the first was used longest ago
            self._idle.pop(0)[0].close()
        self._idle.append((connection, now_s))

    def _kept(self) -> aiosmtplib.SMTP | None:
        """Return the connection that was used last, or None.

        A connection that is closed or was idle for too long is dropped.
        """
        now_s = time.monotonic()
        while self._idle:
            connection, since_s = self._idle.pop()
            if connection.is_connected and now_s - since_s < IDLE_S_MAX:
                return connection
            connection.close()
        return None

    async def _connect(self) -> aiosmtplib.SMTP:
        token = None if self._tokens is None else await self._tokens.get()  # first, because a relay may not wait
        try:
            sock = await self._socket()
        except RuntimeError as error:  # no thread for the look-up of the name
            raise OSError(None, str(error)) from error
        connection: aiosmtplib.SMTP | None = None
        try:
            connection = aiosmtplib.SMTP(
                hostname=self._host,
                sock=sock,
                local_hostname=self._helo_name,
                use_tls=self._protection == "implicit",
                start_tls=self._protection == "starttls",
                tls_context=self._trust(),
            )
            await connection.connect()
            await self._log_in(connection, token)
        except BaseException:
            if connection is not None:
                connection.close()
            sock.close()
            raise
        return connection

    async def _log_in(self, connection: aiosmtplib.SMTP, token: SecretStr | None) -> None:
        if self._username is not None and self._password is not None:
            await connection.login(self._username, self._password.get_secret_value())
        if self._username is not None and self._tokens is not None and token is not None:
            try:
                await connection.auth_xoauth2(self._username, token.get_secret_value())
            except aiosmtplib.SMTPAuthenticationError:  # the token may have been revoked early
                fresh = await self._tokens.get(instead_of=token)
                await connection.auth_xoauth2(self._username, fresh.get_secret_value())

    async def _socket(self) -> socket.socket:
        """Return a connected socket. If an address does not answer soon, the next address is tried at the same time."""
        found = await asyncio.get_running_loop().getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
        return await start_connection(found, happy_eyeballs_delay=HAPPY_EYEBALLS_S, interleave=1)

    def _trust(self) -> ssl.SSLContext | None:
        if self._context is None and self._protection != "none":
            self._context = ssl.create_default_context(cafile=self._ca_file)
        return self._context

    def _content(self, message: Message) -> bytes:
        headers = [
            *self._headers,
            address_header("To", message.to),
            header("Subject", message.subject or ""),
            f"Date: {formatdate()}",
            f"Message-ID: <{message.notification_id}@{self._domain}>",
        ]
        headers += self._options.unsubscribe_header(message.notification_id)
        return write_mail(headers, message.notification_id, message.text, message.html)


def _fixed_headers(options: SmtpOptions) -> list[str]:
    """Return the header lines that are the same in every mail, including From and Reply-To."""
    fixed = [address_header("From", options.sender.address, options.sender.name)]
    if options.reply_to is not None:
        fixed.append(address_header("Reply-To", options.reply_to.address, options.reply_to.name))
    return [*fixed, *options.fixed_headers()]


def _spoken(host: str) -> str:
    """Return `host` as EHLO needs it, with an IP address in brackets (RFC 5321, section 4.1.3)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.rstrip(".")
    return f"[{'IPv6:' if address.version == 6 else ''}{address}]"


class _Step:
    """The progress of one SMTP transaction. `dotted` becomes True just before the final dot may be sent."""

    def __init__(self) -> None:
        self.greeted = False
        self.mailed = False  # the server accepted the sender
        self.named = False  # the server accepted the recipient
        self.dotted = False


def _is_no(code: int) -> bool:
    """Return True if `code` is an SMTP reply that refuses. aiosmtplib uses -1 for an answer that is no SMTP reply."""
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


def _not_sent(error: BaseException | None) -> str:
    """Return why no connection could be made: `tls`, `dns` or `connect`.

    `error` and its causes are looked through. The first TLS or DNS error among them decides. If there is none, the
    result is `connect`.
    """
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return "tls"
        if isinstance(error, socket.gaierror):
            return "dns"
        error = error.__cause__ or error.__context__
    return "connect"


def _has_control(text: str) -> bool:
    return any(ord(character) < 32 or ord(character) == 127 for character in text)


SMTP = Provider("smtp", ("email",), SmtpOptions, Smtp, words=ENHANCED, phrases=PHRASES, calls_max=CONNECTIONS_MAX)
