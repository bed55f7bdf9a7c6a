"""A proxy that makes network faults. Processes connect to it by TCP, and it connects to Redis by a Unix socket.

The proxy can cut connections, lose answers and stall. It runs in a thread of its own, so that a test can act while
processes talk through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

PASS, STALL, REFUSE = "pass", "stall", "refuse"


@dataclass(slots=True)
class Swallow:
    """Makes requests that contain `word` lose their answer.

    The next `times` such requests are carried out. Then their connection is reset before the answer.
    """

    word: bytes
    times: int
    done: int = 0


class Link:
    """One proxy in front of Redis. A test may change `mode` at any time to pass, stall or refuse connections."""

    def __init__(self, behind: Path) -> None:
        self._behind = str(behind)
        self.mode = PASS
        self.delay_s = 0.0
        self.connected = 0
        self.swallow: Swallow | None = None
        self._cut_after: int | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._subscribers: list[
            asyncio.Event
        ] = []  # one for each connection that subscribed; set: it gets nothing more
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port: int = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(5)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def reset_all(self) -> None:
        """Reset every connection at once."""
        asyncio.run_coroutine_threadsafe(self._reset_all(), self._loop).result(5)

    def cut_amid_a_request(self, after: int) -> None:
        """Reset the connection in the middle of the next request. Redis gets only the first `after` bytes of that
        request.
        """
        self._cut_after = after

    def mute_subscribers(self) -> int:
        """Send nothing more to the connections that have subscribed, but keep them open.

        Return the number of these connections.
        """
        for muted in self._subscribers:
            self._loop.call_soon_threadsafe(muted.set)
        return len(self._subscribers)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    # ---- on the link's own loop

    async def _open(self) -> int:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0, limit=1 << 20)
        return int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        self._server.close()
        await self._reset_all()
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        await asyncio.sleep(0)

    async def _reset_all(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == REFUSE:
            _reset(writer)
            return
        self.connected += 1
        self._writers.add(writer)
        far = None
        try:
            answers, far = await asyncio.open_unix_connection(self._behind)
            hidden, muted = asyncio.Event(), asyncio.Event()
            await asyncio.wait(
                {
                    asyncio.ensure_future(self._requests(reader, far, hidden, muted)),
                    asyncio.ensure_future(self._answers(answers, writer, hidden, muted)),
                },
                return_when=asyncio.FIRST_COMPLETED,
            )
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            _reset(writer)
            if far is not None:
                far.close()

    async def _requests(
        self, reader: asyncio.StreamReader, far: asyncio.StreamWriter, hidden: asyncio.Event, muted: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._while_stalled()
                if b"SUBSCRIBE" in data and muted not in self._subscribers:
                    self._subscribers.append(muted)
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self._cut_after is not None:
                    data, self._cut_after = data[: self._cut_after], None
                    far.write(data)
                    await far.drain()
                    return
                rule = self.swallow
                if rule is not None and rule.done < rule.times and rule.word in data:
                    rule.done += 1
                    hidden.set()
                far.write(data)
                await far.drain()

    async def _while_stalled(self) -> None:
        while self.mode == STALL:  # noqa: ASYNC110  (a test's thread sets it)
            await asyncio.sleep(0.01)

    async def _answers(
        self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, hidden: asyncio.Event, muted: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await answers.read(1 << 16):
                await self._while_stalled()
                if hidden.is_set():
                    return  # the request was carried out, and only its answer is lost
                if muted.is_set():
                    continue
                writer.write(data)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close the connection with RST instead of FIN, as a killed host or a firewall does."""
    found = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
