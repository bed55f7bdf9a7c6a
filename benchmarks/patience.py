"""Repeats triggers as docs/api.md asks, for thousands of callers that wait while the service is away.

A caller waits before its next try. The longest wait doubles from 0.1 s to 3 s, and the wait is drawn evenly between 0
and the longest ("full jitter"), so that callers do not come back together. After an answer with `Retry-After` the wait
is at least that long.

Callers on the machine of the service must not take the cores that `up` needs for its start. A refused connection is
therefore noticed with two system calls: 23 µs of CPU, where asyncio needs 134 µs and uvloop 62 µs.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import socket
import threading
from dataclasses import dataclass

from cluster.rehearsal.load_connection import Answered, Connection, Pool

FIRST_WAIT_S_MAX, WAIT_S_MAX = 0.1, 3.0
"""The longest wait before the second try, and before any later try, in seconds."""

NICENESS = -10
UNDER_WAY = (errno.EINPROGRESS, errno.EALREADY)


@dataclass(frozen=True, slots=True)
class Patience:
    """The waits of patient callers. `chance` draws them."""

    chance: random.Random

    def wait_s(self, tries: int, retry_after_s: float = 0.0) -> float:
        """Return the seconds before the next try, after `tries` tries without success."""
        longest_s: float = min(WAIT_S_MAX, FIRST_WAIT_S_MAX * 2 ** min(tries - 1, 10))
        return max(retry_after_s, self.chance.uniform(0.0, longest_s))


class PatientPool(Pool):
    """A pool that reads `Retry-After`, and notices a refused connection with little CPU time."""

    def post(self, request: bytes, timeout_s: float, answered: Answered) -> None:
        if self._idle:
            super().post(request, timeout_s, answered)
            return
        reached, code = _connect(self.host, self.port)
        if code and code not in UNDER_WAY:
            reached.close()
            asyncio.get_running_loop().call_soon(failed, self, answered)
            return
        self._begin(self._open_with(reached, code, request, timeout_s=timeout_s, answered=answered))

    async def _open_with(
        self, reached: socket.socket, code: int, request: bytes, *, timeout_s: float, answered: Answered
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            if code:
                await asyncio.wait_for(loop.sock_connect(reached, (self.host, self.port)), timeout_s)
            _, connection = await loop.create_connection(lambda: _Telling(self), sock=reached)
        except (OSError, asyncio.TimeoutError):
            reached.close()
            failed(self, answered)
            return
        self._all.add(connection)
        connection.post(request, timeout_s, answered)


def go_first() -> None:
    """Raise the priority of this thread above the service's, if the machine allows it.

    Callers on machines of their own always have a core. Here they would be late by seconds on a busy machine, and the
    figures would be theirs.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def failed(pool: Pool, answered: Answered) -> None:
    """Hand over that no answer came."""
    pool.retry_after_s = 0.0
    answered(0, b"")


def _connect(host: str, port: int) -> tuple[socket.socket, int]:
    """Begin to connect, and return the socket and the error number: 0 if the connection stands.

    On loopback the first call begins, and the second one knows the result.
    """
    reached = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    code = reached.connect_ex((host, port))
    if code in UNDER_WAY:
        code = reached.connect_ex((host, port))
    return reached, 0 if code == errno.EISCONN else code


class _Telling(Connection):
    """A connection that tells its pool the `Retry-After` of each answer. Only a number of seconds is read."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._after_s = 0.0

    def post(self, request: bytes, timeout_s: float, answered: Answered) -> None:
        if self._lost:  # an earlier answer may have left its Retry-After at the pool
            asyncio.get_running_loop().call_soon(failed, self._pool, answered)
            return
        super().post(request, timeout_s, answered)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._after_s = 0.0

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after" and value.isdigit():
            self._after_s = float(value)

    def connection_lost(self, error: Exception | None) -> None:
        self._after_s = 0.0
        super().connection_lost(error)

    def _answer(self, status: int, body: bytes) -> None:
        self._pool.retry_after_s = self._after_s
        super()._answer(status, body)
