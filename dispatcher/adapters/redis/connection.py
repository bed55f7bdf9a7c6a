"""One connection to Redis that carries the script calls of many tasks at once, answered in order.

redis-py makes the connection, logs in and reads. What it does around each single command (a pool, a task and a timer
for the write, a timer for the reply, packing in Python) cost more than the command itself. So this module packs with
hiredis and writes at once. Redis is one thread, so several sockets would not make it answer sooner.

Guarantee: nothing is sent twice. If the connection breaks, or one answer is later than `timeout_s`, every caller that
waits gets an error that means "maybe done", and the next call opens another connection. A caller that is cancelled
disturbs no other: its answer is read and dropped. Its deadline still holds, so a dead connection is found even if every
caller has given up before.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError

Command = tuple[str | int | float | bytes, ...]


class _Asked:
    """One caller's question: the number of replies that it waits for, and its deadline."""

    __slots__ = ("_left", "_replies", "_timer", "future")

    def __init__(self, count: int, future: asyncio.Future[list[Any]], timer: asyncio.TimerHandle) -> None:
        self._left, self.future, self._timer = count, future, timer
        self._replies: list[Any] = []

    def answer(self, reply: Any) -> bool:
        """Note one reply; return True if it was the last."""
        self._replies.append(reply)
        self._left -= 1
        if self._left:
            return False
        self._timer.cancel()
        if not self.future.done():
            self.future.set_result(self._replies)
        return True

    def fail(self, error: Exception) -> None:
        self._timer.cancel()
        if not self.future.done():
            self.future.set_exception(error)


class _Open:
    """A connection while it is open, and the callers that wait for its answers."""

    def __init__(self, connection: AbstractConnection) -> None:
        self.broken = False
        self._connection = connection
        # redis-py has no public way to write without waiting, which two tasks could not do in a known order.
        self._transport: asyncio.WriteTransport = connection._writer.transport  # type: ignore[union-attr]
        self._waiting: deque[_Asked] = deque()
        self.reading = asyncio.get_running_loop().create_task(self._read())

    def ask(self, packed: bytes, count: int, timeout_s: float) -> asyncio.Future[list[Any]]:
        if self.broken:
            raise ConnectionError("broken as soon as it was open")
        loop = asyncio.get_running_loop()
        timer = loop.call_later(timeout_s, self.end, TimeoutError("no answer in time"))
        asked = _Asked(count, loop.create_future(), timer)
        self._waiting.append(asked)
        self._transport.write(packed)
        return asked.future

    def end(self, error: Exception) -> None:
        """End every question with an error. Whatever comes later on this connection is dropped."""
        if self.broken:
            return
        self.broken = True
        if asyncio.current_task() is not self.reading:
            self.reading.cancel()
        for asked in self._waiting:
            asked.fail(error)
        self._waiting.clear()

    async def _read(self) -> None:
        error: Exception = ConnectionError("the connection was closed")
        try:
            while True:
                try:
                    reply: Any = await self._connection.read_response(timeout=math.inf)
                except ResponseError as refused:
                    reply = refused
                if self._waiting[0].answer(reply):
                    self._waiting.popleft()
        except (RedisError, OSError) as broken:
            error = broken
        finally:
            self.end(error)
            with contextlib.suppress(RedisError, OSError):
                await self._connection.disconnect(nowait=True)


class SharedConnection:
    """A connection that any number of tasks may `ask`. `connect` makes a redis-py connection that is not open yet."""

    def __init__(self, connect: Callable[[], AbstractConnection], timeout_s: float) -> None:
        self._connect, self._timeout_s = connect, timeout_s
        self._current: _Open | None = None
        self._opening: asyncio.Task[_Open] | None = None
        self._opened_count = 0

    async def opened(self) -> int:
        """Open the connection if it is not open, and return how many were opened so far."""
        if self._current is None or self._current.broken:
            await self._open()
        return self._opened_count

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Return the reply of each command in order. An error reply is an exception among them.

        Raises redis-py's ConnectionError or TimeoutError, or an OSError: each command is maybe done.
        """
        if not commands:
            return []
        packed = b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]
        found = self._current
        if found is None or found.broken:
            found = await self._open()
        return await found.ask(packed, len(commands), self._timeout_s)

    async def _open(self) -> _Open:
        """Return the connection. All callers that find it broken wait for the same attempt to open another."""
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._dial())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, opening: asyncio.Task[_Open]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._current = opening.result()
            self._opened_count += 1

    async def _dial(self) -> _Open:
        connection = self._connect()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return _Open(connection)

    async def close(self) -> None:
        """Close. Every caller that waits gets an error that means "maybe done"."""
        if self._opening is not None:
            await asyncio.wait({self._opening})
        if self._current is not None:
            self._current.end(ConnectionError("closing"))
            await asyncio.wait({self._current.reading})
            self._current = None
