"""Reads streams in a way that waits for an entry, and ends such a read early.

CLIENT UNBLOCK names a connection by its id. redis-py opens a lost connection again without a word, and the new
connection has another id, so an id must not be kept. Each read therefore asks for the id of its own connection, in the
same packet. Redis answers this question before it blocks. So a known id always belongs to a connection that is blocked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dispatcher.adapters.redis.script_calls import Client, reached


class BlockingRead:
    """The reads in which one courier waits, one at a time. `waiting` is the client for them, and `connection` is the
    client that ends them.
    """

    def __init__(self, waiting: Client, connection: Client) -> None:
        self._waiting, self._redis = waiting, connection
        self._blocked_id: int | None = None
        self._ended = False

    async def read(self, me: str, streams: Sequence[str], count: int, timeout_ms: int) -> list[tuple[str, str, str]]:
        """Claim for `me` up to `count` entries of each stream. Wait up to `timeout_ms` until there is one.

        Each row of the result holds a stream's key, an entry's id and a notification's id. Raises the errors of the
        Redis client. Entries are then maybe claimed.
        """
        self._ended = False
        pool = self._waiting.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            block = ["BLOCK", timeout_ms, "STREAMS", *streams, *[">"] * len(streams)]
            commands = [("CLIENT", "ID"), ("XREADGROUP", "GROUP", "g", me, "COUNT", count, *block)]
            await connection.send_packed_command(connection.pack_commands(commands))
            self._blocked_id = await connection.read_response()
            if self._ended:  # while the connection was opened, or the id was on its way
                await self.end()
            reply: Any = await connection.read_response()
        except BaseException:
            await connection.disconnect(nowait=True)  # otherwise the next command might read a reply of this one
            raise
        finally:
            self._blocked_id = None
            await pool.release(connection)
        return [(key, entry_id, body[1]) for key, entries in (reply or []) for entry_id, body in entries]

    async def end(self) -> None:
        """End the read that is under way, if there is one. Raises UnavailableError if Redis does not answer."""
        self._ended = True
        if self._blocked_id is not None:
            await reached(self._redis.client_unblock(self._blocked_id))
