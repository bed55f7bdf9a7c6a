"""Tests vendors that cannot be reached because of TLS or DNS. No byte of the message was written.

So the outcome is failed and never unknown. It is "of local origin", which means a fault on our side of the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.local.state_directory import free_port
from dispatcher.adapters.providers import build
from dispatcher.adapters.providers.exchange import Answer
from dispatcher.adapters.providers.http import HttpClient
from dispatcher.core.life.outcome import Outcome, OutcomeKind
from dispatcher.ports import Vendor
from tests.contract.certificates import Authority
from tests.contract.vendors import HTTP_ADAPTERS, SID, http, make, message_for, send

ADAPTERS = (*HTTP_ADAPTERS, "smtp")
TIMEOUT_S = 2.0
YES = {
    "twilio": http("201 Created", b'{"sid": "' + SID + b'"}'),
    "vonage": http("200 OK", b'{"messages": [{"status": "0", "message-id": "0A0000000123ABCD1"}]}'),
    "sendgrid": http("202 Accepted", b"", b"X-Message-Id: abcdefgh"),
}


def vendor_at(adapter: str, host: str, port: int, starttls: bool = False) -> Vendor:
    if adapter != "smtp":
        return make(adapter, f"{'https' if starttls else 'http'}://{host}:{port}")
    options = {"host": host, "port": port, "starttls": starttls, "sender": "shop@example.com"}
    return build("smtp", "smtp", "email", options)


async def secured(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext
) -> asyncio.StreamWriter:
    """Encrypt this connection and return its new writer. CPython 3.10 has no `StreamWriter.start_tls`."""
    loop, protocol = asyncio.get_running_loop(), writer.transport.get_protocol()
    await writer.drain()
    transport = await loop.start_tls(writer.transport, protocol, context, server_side=True)
    return asyncio.StreamWriter(transport, protocol, reader, loop)


class Peer:
    """A vendor behind TLS that accepts everything, and keeps in `heard` what it received.

    With `stalls` or `resets` it breaks the handshake.
    """

    def __init__(self, adapter: str, context: ssl.SSLContext | None, stalls: bool, resets: bool) -> None:
        self.heard = b""
        self._adapter, self._context, self._stalls, self._resets = adapter, context, stalls, resets

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        self._over = asyncio.Event()
        at_once = self._adapter != "smtp" and not self._stalls and not self._resets
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context if at_once else None)
        yield server.sockets[0].getsockname()[1]
        self._over.set()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await (self._smtp if self._adapter == "smtp" else self._http)(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._stalls or self._resets:
            await self._break(reader, writer)
            return
        self.heard += await reader.readuntil(b"\r\n\r\n")
        writer.write(YES[self._adapter])
        await writer.drain()

    async def _smtp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            word = line.split()[0].upper()
            if word == b"EHLO":
                writer.write(b"250-here\r\n250 STARTTLS\r\n")
            elif word == b"STARTTLS":
                writer.write(b"220 go on\r\n")
                if self._stalls or self._resets:
                    await self._break(reader, writer)
                    return
                assert self._context is not None
                writer = await secured(reader, writer, self._context)
            elif word == b"DATA":
                writer.write(b"354 go on\r\n")
                self.heard += await reader.readuntil(b"\r\n.\r\n")
                writer.write(b"250 OK\r\n")
            else:
                writer.write(b"250 OK\r\n")

    async def _break(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one byte of the handshake, then stay silent if the peer stalls, or else close the connection at once."""
        await reader.read(1)
        if self._stalls:
            await self._over.wait()
        writer.transport.abort()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Return a certificate authority. The vendors' clients trust it like the machine's own authorities."""
    found = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(found.file))
    return found


async def call(adapter: str, context: ssl.SSLContext | None, **broken: bool) -> tuple[Outcome, Peer]:
    peer = Peer(adapter, context, broken.get("stalls", False), broken.get("resets", False))
    async with peer.open() as port:
        outcome = await send(vendor_at(adapter, "127.0.0.1", port, starttls=True), message_for(adapter), TIMEOUT_S)
    return outcome, peer


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_a_good_certificate_is_believed(authority: Authority, adapter: str) -> None:
    """A vendor's certificate is signed by a trusted authority, is valid now and has the vendor's name. The message is
    accepted.

    Each of the following tests changes one of these properties.
    """
    outcome, peer = await call(adapter, authority.server())
    assert outcome.kind is OutcomeKind.ACCEPTED
    assert peer.heard


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("fault", ["expired", "not yet valid", "of another host", "of nobody known"])
async def test_a_bad_certificate_gets_no_byte(authority: Authority, tmp_path: Path, adapter: str, fault: str) -> None:
    """A vendor has a bad certificate. The outcome is `failed` with the reason `tls`, which counts as a fault on our
    side.

    The vendor gets no byte of the message.
    """
    context = {
        "expired": lambda: authority.server(age_days=9),
        "not yet valid": lambda: authority.server(age_days=-1),
        "of another host": lambda: authority.server("127.0.0.2"),
        "of nobody known": lambda: Authority(tmp_path, "stranger").server(),
    }[fault]()
    outcome, peer = await call(adapter, context)
    assert (outcome.kind, outcome.local_origin, outcome.reason) == (OutcomeKind.FAILED, True, "tls")
    assert peer.heard == b""


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_a_handshake_that_stalls_costs_the_deadline(authority: Authority, adapter: str) -> None:
    """The peer is silent during the handshake. The call ends at its deadline as failed, as a fault on our side."""
    began = time.monotonic()
    outcome, _ = await call(adapter, None, stalls=True)
    assert (outcome.kind, outcome.local_origin) == (OutcomeKind.FAILED, True)
    assert time.monotonic() - began < 30, "it was cut off"


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_a_handshake_that_breaks_off_is_not_sent(authority: Authority, adapter: str) -> None:
    """The vendor's server resets the connection during the TLS handshake. The outcome is failed, as a fault on our
    side.
    """
    outcome, _ = await call(adapter, None, resets=True)
    assert (outcome.kind, outcome.local_origin) == (OutcomeKind.FAILED, True)


# ---- names


async def no_such_name(*args: Any, **kwargs: Any) -> Any:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def no_answer_now(*args: Any, **kwargs: Any) -> Any:
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


async def nothing(*args: Any, **kwargs: Any) -> Any:
    return []


async def silence(*args: Any, **kwargs: Any) -> Any:
    await asyncio.sleep(60)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("resolver", [no_such_name, no_answer_now, nothing, silence], ids=lambda f: f.__name__)
async def test_a_name_without_an_address_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, adapter: str, resolver: Callable[..., Any]
) -> None:
    """The vendor's name has no address, or the resolver fails or is silent. The outcome is failed, as a fault on our
    side.
    """
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver)
    began = time.monotonic()
    outcome = await send(vendor_at(adapter, "vendor.test", 80), message_for(adapter), TIMEOUT_S)
    assert (outcome.kind, outcome.local_origin) == (OutcomeKind.FAILED, True)
    if resolver in (no_such_name, no_answer_now) or (resolver is nothing and adapter != "smtp"):
        assert outcome.reason == "dns"
    assert time.monotonic() - began < 30, "it was cut off"


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_without_a_thread_to_resolve_in_it_is_not_sent(adapter: str) -> None:
    """The process can start no thread in which the vendor's name is resolved (docs/faults.md, row 39). The outcome is
    `failed`, and counts as a fault on our side.

    When threads can be started again, the name is resolved.
    """

    class NoThread(ThreadPoolExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("can't start new thread")

    loop = asyncio.get_running_loop()
    loop.set_default_executor(NoThread())
    vendor = vendor_at(adapter, "localhost", free_port())
    outcome = await vendor.send(message_for(adapter), TIMEOUT_S)
    assert (outcome.kind, outcome.local_origin) == (OutcomeKind.FAILED, True)
    loop.set_default_executor(ThreadPoolExecutor(1))
    outcome = await send(vendor, message_for(adapter), TIMEOUT_S)
    assert (outcome.kind, outcome.local_origin, outcome.reason) == (OutcomeKind.FAILED, True, "connect")


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_a_name_that_comes_back_is_used_at_once(monkeypatch: pytest.MonkeyPatch, adapter: str) -> None:
    """The resolver fails once and then works. The next message is accepted, because the failure is not remembered."""
    loop = asyncio.get_running_loop()
    honest = loop.getaddrinfo
    peer = Peer(adapter, None, False, False)
    async with peer.open() as port:
        vendor = vendor_at(adapter, "vendor.test", port)
        monkeypatch.setattr(loop, "getaddrinfo", no_such_name)
        assert (await vendor.send(message_for(adapter), TIMEOUT_S)).kind is OutcomeKind.FAILED

        async def there(host: Any, *args: Any, **kwargs: Any) -> Any:
            return await honest("127.0.0.1" if host == "vendor.test" else host, *args, **kwargs)

        monkeypatch.setattr(loop, "getaddrinfo", there)
        assert (await vendor.send(message_for(adapter), TIMEOUT_S)).kind is OutcomeKind.ACCEPTED
        await vendor.close()


async def test_a_connection_by_tls_carries_the_next_request_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Five requests follow each other by TLS 1.3, and use one connection.

    The server's session tickets come after the handshake. They must not look like an answer that nobody asked for.
    """
    authority, connections = Authority(tmp_path), 0
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=authority.server())
    client = HttpClient()
    try:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for _ in range(5):
            assert isinstance(await client.post(url, TIMEOUT_S, b"", {}), Answer)
    finally:
        await client.close()
        server.close()
    assert connections == 1
