"""HTTP/1.1 connections to vendors. A connection carries one request at a time, and is then used for the next request.

httptools parses the answers. The caller always knows whether the vendor may have a request. `Pool.connect` raises
NotSentError before any byte of the request is written. Once `Connection.ask` was called, the vendor may have the
request. RFC 9112 defines where an answer ends.
"""

from __future__ import annotations

import asyncio
import re
import select
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast
from urllib.parse import quote, urlsplit

import httptools
from aiohappyeyeballs import start_connection

from dispatcher.adapters.providers.fields import host_fault

HEAD_BYTES_MAX = 64 * 1024
ANSWER_BYTES_MAX = 64 * 1024
KEEPALIVE_S = 15.0
"""The longest time in seconds for which a connection may be idle before its next use.

Common servers close idle connections later than this, so a reused connection is rarely closed already.
"""
HAPPY_EYEBALLS_S = 0.25
USER_AGENT = "resilient-dispatcher"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class NotSentError(Exception):
    """No byte of the request was written. The text is the reason: `dns`, `tls`, `connect` or `timeout_connect`."""


class LostError(Exception):
    """The whole request or a part of it may have been written, and there is no valid answer. The text is the reason."""


class Headers(Mapping[str, str]):
    """Header fields by name; upper and lower case are the same. If a field came twice, its first value counts."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = {name.lower(): value for name, value in fields.items()}

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


@dataclass(frozen=True, slots=True)
class Answer:
    """A vendor's answer. `body` is complete, because an answer that is too long raises LostError instead."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Origin:
    """A server: its host and port, and whether connections use TLS. The certificate must name `host`."""

    host: str
    port: int
    tls: bool


@lru_cache(maxsize=256)
def target(url: str) -> tuple[Origin, str]:
    """Return the server of an absolute URL, and the text that follows the method in every request to this URL.

    Raises ValueError if the URL has another scheme than http or https, a user, or an impossible host or port.
    """
    parts = urlsplit(url)
    tls, host, port = parts.scheme == "https", parts.hostname or "", parts.port
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or port == 0:
        raise ValueError("no address of a service")
    if host_fault(host) is not None:
        raise ValueError(host_fault(host))
    where = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    if parts.query:
        where += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    named = f"[{host}]" if ":" in host else host
    head = (
        f" {where} HTTP/1.1\r\nHost: {named}{'' if port is None else f':{port}'}\r\n"
        f"User-Agent: {USER_AGENT}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
    )
    return Origin(host, port or (443 if tls else 80), tls), head


def written(method: str, head: str, headers: Mapping[str, str], content: bytes) -> bytes:
    """Return the bytes of one request. `head` is the text that `target` returns for the URL.

    Raises ValueError if a header has an invalid name or contains a control character.
    """
    lines = [method, head]
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or _CONTROL.search(value):
            raise ValueError("a header that cannot be written")
        lines.append(f"{name}: {value}\r\n")
    if content or method == "POST":
        lines.append(f"Content-Length: {len(content)}\r\n")
    lines.append("\r\n")
    return "".join(lines).encode() + content


class Connection(asyncio.Protocol):
    """A connection to a vendor.

    After an answer the connection is `idle` if it can carry another request, and closed otherwise.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._framed = False  # True if a header of the answer says where it ends
        self._answer: asyncio.Future[Answer] | None = None
        self.closed = False

    @property
    def idle(self) -> bool:
        return self._answer is None and not self.closed

    @property
    def quiet(self) -> bool:
        """Return True if, since the last answer, the server has sent nothing and has not closed the connection. The
        kernel is asked.

        A busy event loop learns only in its next round that the server has sent something or closed. Until then the
        connection looks idle. If the connection were used, what the server had sent would be read as the answer to the
        next request.
        """
        at = self._transport.get_extra_info("socket").fileno()
        if at < 0:
            return False
        arrived = select.poll()
        arrived.register(at, select.POLLIN)
        return not arrived.poll(0)

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        """Write `request` and return a future of the answer. The future raises LostError if no valid answer comes.

        The connection must be idle.
        """
        self._answer = answer = asyncio.get_running_loop().create_future()
        self._head_bytes = 0
        self._begin()
        self._transport.write(request)
        return answer

    def lose(self, reason: str) -> None:
        """Close the connection at once. If an answer is missing, its future gets LostError with this reason."""
        self.closed = True
        self._transport.abort()
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(LostError(reason))

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.lose("connection_lost")
            return
        if not self._head_done:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self.lose("connection_lost")

    def connection_lost(self, error: Exception | None) -> None:
        if error is None and self._answer is not None and self._head_done and not self._framed:
            self._complete()  # the end of the connection is the end of the answer (RFC 9112, 6.3)
        self.lose("connection_lost")

    # What the parser calls

    def on_message_begin(self) -> None:
        if self._answer is None:  # nobody asked: the next request must not get this answer
            self.lose("connection_lost")
        self._begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        field = name.decode("latin-1").lower()
        self._fields.setdefault(field, value.decode("utf-8", "replace"))
        self._framed = self._framed or field in ("content-length", "transfer-encoding")

    def on_headers_complete(self) -> None:
        self._head_done = True

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > ANSWER_BYTES_MAX:
            self.lose("answer_too_large")
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._answer is None:
            return
        if self._parser.get_status_code() < 200:  # an interim answer (RFC 9110, 15.2): the real one follows
            self._begin()
            return
        keep = self._parser.should_keep_alive() and not self._transport.get_write_buffer_size()
        self._complete()
        if not keep:
            self.lose("connection_lost")

    def _begin(self) -> None:
        self._fields: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size = 0
        self._head_done = self._framed = False

    def _complete(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            body = b"".join(self._parts)
            answer.set_result(Answer(self._parser.get_status_code(), Headers(self._fields), body))


class Pool:
    """The idle connections of one client. The connection that was used last is used first."""

    def __init__(self) -> None:
        self._idle: dict[Origin, list[tuple[Connection, float]]] = {}
        self._context: ssl.SSLContext | None = None

    def pop(self, origin: Origin, now_s: float) -> Connection | None:
        """Remove and return an idle connection to `origin`, or None.

        A connection that was idle for `KEEPALIVE_S` or longer, or at which something arrived meanwhile, is closed.
        """
        kept = self._idle.get(origin)
        while kept:
            connection, since_s = kept.pop()
            if connection.idle and now_s - since_s < KEEPALIVE_S and connection.quiet:
                return connection
            connection.lose("idle")
        return None

    def give_back(self, origin: Origin, connection: Connection, now_s: float) -> None:
        """Keep `connection` for a later request if it is idle. If it still waits for an answer, close it.

        Kept connections to `origin` that were idle for `KEEPALIVE_S` are closed. A steady load uses only the last ones,
        so that those of an earlier peak would otherwise stay open for as long as the vendor likes.
        """
        if connection.idle:
            kept = self._idle.setdefault(origin, [])
            while kept and now_s - kept[0][1] >= KEEPALIVE_S:  # the first is the one that was used longest ago
                kept.pop(0)[0].lose("idle")
            kept.append((connection, now_s))
        elif not connection.closed:
            connection.lose("given up")

    async def connect(self, origin: Origin) -> Connection:
        """Return a new connection to the address that answers first (RFC 8305). Raises NotSentError.

        The call has no time-out of its own, so the caller must limit the time.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        except (OSError, RuntimeError, UnicodeError) as error:  # RuntimeError: no thread for the look-up
            raise NotSentError("dns") from error
        if not found:
            raise NotSentError("dns")
        tls, name = (self._tls(), origin.host) if origin.tls else (None, None)
        sock: socket.socket | None = None
        try:
            sock = await start_connection(found, happy_eyeballs_delay=HAPPY_EYEBALLS_S, interleave=1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _, connection = await loop.create_connection(Connection, sock=sock, ssl=tls, server_hostname=name)
            return connection
        except ssl.SSLError as error:
            raise NotSentError("tls") from error
        except (OSError, RuntimeError) as error:
            raise NotSentError("connect") from error
        except asyncio.CancelledError:
            if sock is not None:
                sock.close()
            raise

    def close(self) -> None:
        for kept in self._idle.values():
            for connection, _ in kept:
                connection.lose("closed")
        self._idle.clear()

    def _tls(self) -> ssl.SSLContext:
        """Return the TLS context, which trusts the machine's certificate authorities. The context is made only once."""
        if self._context is None:
            self._context = ssl.create_default_context()
            self._context.set_alpn_protocols(["http/1.1"])
        return self._context
