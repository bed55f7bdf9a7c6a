"""One connection to Redis that many tasks share. Replies come in the order of the commands.

redis-py opens the connection, logs in and reads. For each single command redis-py uses a pool, a task and two timers,
and packs in Python, which cost more CPU than the command itself. So this module packs with hiredis and writes at once.
Redis has one thread, so more connections would not make it answer sooner.

Guarantee: nothing is sent twice. If the connection breaks, or an answer is later than `timeout_s`, every waiting caller
gets an error that means "maybe done". The next call then opens a new connection. If a caller is cancelled, no other
caller notices: the reply is read and dropped. The timer still runs, so a dead connection is found even if every caller
has given up.
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
    """One caller that waits for several replies. The object counts the replies that are still missing, and limits how
    long the caller waits.
    """

    __slots__ = ("_left", "_replies", "_timer", "future")

    def __init__(self, count: int, future: asyncio.Future[list[Any]], timer: asyncio.TimerHandle) -> None:
        self._left, self.future, self._timer = count, future, timer
        self._replies: list[Any] = []

    def answer(self, reply: Any) -> bool:
        """Add one reply of the server. Return True if the replies to all commands of this request are here."""
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
    """An open connection, and the callers that wait for replies in order."""

    def __init__(self, connection: AbstractConnection) -> None:
        self.broken = False
        self.connection = connection
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
        """Give `error` to every waiting caller and close the connection. Later replies are dropped."""
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
                    reply: Any = await self.connection.read_response(timeout=math.inf)
                except ResponseError as refused:
                    reply = refused
                if self._waiting[0].answer(reply):
                    self._waiting.popleft()
        except (RedisError, OSError) as broken:
            error = broken
        finally:
            self.end(error)
            with contextlib.suppress(RedisError, OSError):
                await self.connection.disconnect(nowait=True)


class SharedConnection:
    """A connection that any number of tasks may use at once. The first command opens the connection.

    `connect` returns a redis-py connection that is not open yet. `stale` says of an open one whether it may lead to the
    wrong server. Such a connection is closed before the next command.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractConnection],
        timeout_s: float,
        stale: Callable[[AbstractConnection], bool],
    ) -> None:
        self._connect, self._timeout_s, self._stale = connect, timeout_s, stale
        self._current: _Open | None = None
        self._opening: asyncio.Task[_Open] | None = None
        self._opened_count = 0

    async def opened(self) -> int:
        """Open the connection if it is not open. Return how many connections this object has opened so far."""
        if self._usable() is None:
            await self._open()
        return self._opened_count

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send `commands` and return their replies in order. A command's error is returned as an exception in the list.

        Raises redis-py's ConnectionError or TimeoutError, or an OSError. Each command is then maybe done.
        """
        if not commands:
            return []
        packed = b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]
        found = self._usable() or await self._open()
        return await found.ask(packed, len(commands), self._timeout_s)

    def _usable(self) -> _Open | None:
        found = self._current
        if found is None or found.broken:
            return None
        if self._stale(found.connection):
            found.end(ConnectionError("another server is the primary"))
            return None
        return found

    async def _open(self) -> _Open:
        """Open a new connection and return it. Callers that come at the same time share one attempt."""
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
        """Close the connection. Every waiting caller gets an error that means "maybe done"."""
        if self._opening is not None:
            await asyncio.wait({self._opening})
        if self._current is not None:
            self._current.end(ConnectionError("closing"))
            await asyncio.wait({self._current.reading})
            self._current = None
