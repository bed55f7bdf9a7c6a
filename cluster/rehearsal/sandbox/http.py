"""The HTTP server of the sandbox. Vendors are under `/{vendor}/…`, and control is under `/_sandbox`.

The vendors run on the same machine as the service that is measured, so the server must use little CPU. It has a parser
in C, writes each answer at once, uses a timer for the latency, and starts no task per request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import httptools

from cluster.rehearsal.sandbox.dialects import Dialect, Reply, find
from cluster.rehearsal.sandbox.fault import Fault, FaultError
from cluster.rehearsal.sandbox.ledger import Ledger, Vendor

DRIP_S = 0.1
GARBAGE = Reply(200, b"<html><body>It works!</body></html>", media="text/html; charset=utf-8")


class Request(NamedTuple):
    """One complete request. The names of headers are in Title-Case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """The connection of one client, which sends one request at a time.

    `answer`, `drip` and `reset` do nothing after the client has closed it.
    """

    def __init__(self, sandbox: HttpSandbox) -> None:
        self._sandbox = sandbox
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._stays = True

    def answer(self, reply: Reply) -> None:
        head = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}", f"Content-Type: {reply.media}"]
        head.append(f"Date: {formatdate(usegmt=True)}")
        head += [f"{name}: {value}" for name, value in reply.headers.items()]
        head.append(f"Content-Length: {len(reply.body)}\r\n\r\n")
        if not self._transport.is_closing():
            self._transport.write("\r\n".join(head).encode() + reply.body)
            if not self._stays:
                self._transport.close()

    def drip(self) -> None:
        """Send an answer that never ends, one byte at a time."""
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self._drop()

    def _drop(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"1\r\n \r\n")
            asyncio.get_running_loop().call_later(DRIP_S, self._drop)

    def reset(self) -> None:
        self._transport.abort()

    # ---- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._sandbox.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.reset()

    def connection_lost(self, error: Exception | None) -> None:
        self._sandbox.connections.discard(self)

    # ---- httptools

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", {}, []

    def on_url(self, part: bytes) -> None:
        self._url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").title()] = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        path, query = urlsplit(self._url.decode("latin-1"))[2:4]
        found = dict(parse_qsl(query)) if query else {}
        method = self._parser.get_method().decode()
        self._stays = self._parser.should_keep_alive()
        self._sandbox.handle(Request(method, path, found, self._headers, b"".join(self._body)), self)


class HttpSandbox:
    """Handles the requests of the sandbox's HTTP server."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._telling: set[asyncio.Task[None]] = set()
        self.connections: set[Connection] = set()

    def handle(self, request: Request, client: Connection) -> None:
        if request.path.startswith("/_sandbox"):
            client.answer(self._control(request))
            return
        found = find(request.path)
        if found is None or request.method not in ("GET", "POST"):
            client.answer(_json({"error": "no provider speaks on this path"}, 404))
            return
        vendor, dialect = self._ledger.vendor(found[0]), found[1]
        if request.method == "GET":  # it always works, because a fault affects only calls that send
            client.answer(dialect.listing(request.headers, request.query, vendor.deliveries))
        else:
            self._vendor_call(request, vendor, dialect, client)

    def _vendor_call(self, request: Request, vendor: Vendor, dialect: Dialect, client: Connection) -> None:
        asked = dialect.read(request.headers, request.body)
        if asked.error is not None:
            vendor.note("invalid")
            client.answer(asked.error)
            return
        fault = vendor.fault
        mode = fault.now(asked.to)
        if mode not in ("none", "slow"):
            vendor.note(mode)
            if fault.received:
                vendor.receive(asked.to, asked.text, dialect.accepted()[1], asked.subject, sender=asked.sender)
            self._misbehave(mode, fault, dialect, client)
            return

        def accept() -> None:
            """Deliver the message and answer, even if the client has closed the connection. A real vendor does
            the same.
            """
            reply, message_id = dialect.accepted()
            vendor.deliver(asked.to, asked.text, message_id, asked.subject, sender=asked.sender)
            if asked.receipt_url is not None:
                task = asyncio.ensure_future(_tell(asked.receipt_url, dialect.receipt(message_id, asked.reference)))
                self._telling.add(task)
                task.add_done_callback(self._telling.discard)
            client.answer(reply)

        latency_ms = fault.latency_ms if mode == "slow" else self._latency_ms(fault)
        asyncio.get_running_loop().call_later(latency_ms / 1000, accept)

    def _latency_ms(self, fault: Fault) -> float:
        return self._ledger.latency_ms if fault.mode == "slow" else fault.latency_ms

    def _misbehave(self, mode: str, fault: Fault, dialect: Dialect, client: Connection) -> None:
        match mode:
            case "hang":
                pass
            case "reset":
                client.reset()
            case "drip":
                client.drip()
            case "garbage":
                client.answer(GARBAGE)
            case "throttle":
                client.answer(dialect.throttled(fault.retry_after_s))
            case "reject":
                client.answer(dialect.rejected())
            case _:
                client.answer(dialect.broken())

    def _control(self, request: Request) -> Reply:
        parts = request.path.strip("/").split("/")[1:]
        match (request.method, parts):
            case ("GET", []):
                return _json({"vendors": [vendor.summary() for vendor in self._ledger.all()]})
            case ("DELETE", []):
                self._ledger.reset()
                return _json({"reset": True})
            case ("GET", [name, "received"]):
                return _json(self._ledger.vendor(name).summary(full=request.query.get("full") == "1"))
            case ("PUT", [name, "fault"]):
                try:
                    fault = Fault.parse(json.loads(request.body), self._ledger.latency_ms)
                except FaultError as error:
                    return _json({"error": str(error)}, 422)
                except ValueError:
                    return _json({"error": "body: is not JSON"}, 400)
                self._ledger.vendor(name).set_fault(fault)
                return _json({"vendor": name, "mode": fault.mode})
        return _json({"error": "no such control"}, 404)


async def _tell(url: str, form: dict[str, str]) -> None:
    """Send one call-back. It is not repeated, even if no answer comes.

    The fragment of the address (`#…`) is an instruction to the provider and is not sent.
    """
    url = url.partition("#")[0]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError):
            await session.post(url, data=form)


def _json(body: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(body).encode())


class HttpServer:
    """The running server. `close` also ends every connection."""

    def __init__(self, sandbox: HttpSandbox, server: asyncio.Server) -> None:
        self._sandbox, self._server = sandbox, server
        self.port: int = server.sockets[0].getsockname()[1]

    @classmethod
    async def start(cls, ledger: Ledger, host: str, port: int) -> HttpServer:
        sandbox = HttpSandbox(ledger)
        loop = asyncio.get_running_loop()
        return cls(sandbox, await loop.create_server(lambda: Connection(sandbox), host, port, backlog=1024))

    def close(self) -> None:
        self._server.close()
        for client in list(self._sandbox.connections):
            client.reset()
