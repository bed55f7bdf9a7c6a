"""HTTP for the load client: keep-alive connections, one request at a time on each, and no asyncio task per request.

A general HTTP client spends more CPU on a request than the service under load. On two cores this would reduce the rate
that the service reaches. So only what the load needs is here: POST, an answer with status and body, lost connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

Answered = Callable[[int, bytes], None]
"""A function that gets the status and the body.

Status 0 means that no answer came. The request may or may not have been sent.
"""


class Connection(asyncio.Protocol):
    """One connection of a pool.

    `post` may only be called while the connection is idle. It calls `answered` exactly once.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport
        self._answered: Answered | None = None
        self._lost = False
        self._timer: asyncio.TimerHandle
        self._body: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def post(self, request: bytes, timeout_s: float, answered: Answered) -> None:
        if self._lost:  # it was lost before its opener could use it, so no other call of `answered` follows
            asyncio.get_running_loop().call_soon(answered, 0, b"")
            return
        self._answered = answered
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._transport.abort)
        self._transport.write(request)

    def abort(self) -> None:
        self._transport.abort()

    # ---- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._pool.forget(self)
        self._answer(0, b"")

    # ---- httptools

    def on_message_begin(self) -> None:
        self._body.clear()

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        stays = self._parser.should_keep_alive()
        status = self._parser.get_status_code()
        if stays:
            self._pool.give_back(self)
        else:
            self._transport.close()
        self._answer(status, b"".join(self._body))

    def _answer(self, status: int, body: bytes) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            self._timer.cancel()
            answered(status, body)


class Pool:
    """The open connections to one address. A new connection is opened only if no other connection is idle.

    A request uses the idle connection that was used last.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self.retry_after_s = 0.0
        """The `Retry-After` of the answer that is being handed over, in seconds. Only a pool whose connections read
        headers sets it.
        """
        self._opening: set[asyncio.Task[None]] = set()

    def post(self, request: bytes, timeout_s: float, answered: Answered) -> None:
        if self._idle:
            self._idle.pop().post(request, timeout_s, answered)
            return
        self._begin(self._open(request, timeout_s, answered))

    def _begin(self, opening: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(opening)
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, request: bytes, timeout_s: float, answered: Answered) -> None:
        opening = asyncio.get_running_loop().create_connection(lambda: Connection(self), self.host, self.port)
        try:
            _, connection = await asyncio.wait_for(opening, timeout_s)
        except (OSError, asyncio.TimeoutError):
            answered(0, b"")
            return
        self._all.add(connection)
        connection.post(request, timeout_s, answered)

    def give_back(self, connection: Connection) -> None:
        self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        for connection in list(self._all):
            connection.abort()
