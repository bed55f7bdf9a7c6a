"""Finds the primary for every connection of one client: at a fixed address, or by asking the sentinels.

Every connection can notice a fail-over. A server that was demoted answers READONLY, and the command is not done. The
connection is then closed, and each other connection of the client is opened again before its next use. The same happens
when the sentinels name another primary. They are asked once a second while there is traffic: a primary that only we
still reach refuses nothing, and what it stores is lost when it is demoted. With a fixed address, opening again helps if
the host name now leads to another server.

All sentinels are asked at once. Among the answers of a majority, the one with the highest epoch counts, because a
sentinel that was cut off together with the old primary knows an older epoch. If a majority names no working primary,
the other sentinels are waited for. redis-py's own search believes the first
sentinel that answers, and can lose sentinels from its list when two tasks search at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError, ResponseError

from dispatcher.adapters.redis.address import Address

SENTINEL_S = 0.5
"""The time-out of a sentinel's answer, in seconds."""

LOOK_S = 1.0
"""The time in seconds after which a client with traffic asks the sentinels again which server is the primary."""


class PrimaryFinder:
    """Finds the primary for one client. `epoch` is increased when open connections may lead to the wrong server."""

    def __init__(self, address: Address) -> None:
        self.address, self.epoch = address, 0
        self.known_replicas = 0
        self._at: tuple[str, int] | None = None
        self._asked_s = -math.inf
        self._asking: asyncio.Task[tuple[str, int]] | None = None
        self._sentinels = Sentinel(  # type: ignore[no-untyped-call]
            address.sentinels,
            sentinel_kwargs={
                **address.sentinel_options,
                "ssl": address.tls,
                "decode_responses": True,
                "protocol": 2,
                "socket_timeout": SENTINEL_S,
                "socket_connect_timeout": SENTINEL_S,
                "retry": Retry(NoBackoff(), 0),
            },
        )

    @property
    def fixed(self) -> bool:
        return not self.address.sentinels

    def moved(self) -> None:
        """Record that a server of this Redis is no longer the primary. Every connection to it is closed and opened
        again before its next use.
        """
        self.epoch += 1

    def stale(self, connection: Any) -> bool:
        """Return True if `connection`, which one of the classes below opened, may lead to the wrong server.

        If the last question to the sentinels is `LOOK_S` old, they are asked in the background.
        """
        if not self.fixed and asyncio.get_running_loop().time() - self._asked_s >= LOOK_S:
            self._begin_to_ask()
        return bool(connection.epoch != self.epoch)

    async def primary(self) -> tuple[str, int]:
        """Return host and port of the primary. Callers that come at the same time share one question to the sentinels.

        Raises redis-py's ConnectionError if the sentinels that answer know no working primary.
        """
        return await asyncio.shield(self._begin_to_ask())

    def _begin_to_ask(self) -> asyncio.Task[tuple[str, int]]:
        if self._asking is None:
            loop = asyncio.get_running_loop()
            self._asked_s = loop.time()
            self._asking = loop.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        return self._asking

    def _asked(self, task: asyncio.Task[tuple[str, int]]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # otherwise asyncio logs an error that no caller waits for any more

    async def _ask(self) -> tuple[str, int]:
        answers = await self._majority(
            lambda one: one.sentinel_masters(), lambda so_far: self._named(so_far) is not None
        )
        newest = self._newest(answers)
        self.known_replicas = max((int(state.get("num-slaves", 0)) for state in newest), default=self.known_replicas)
        at = self._named(answers)
        if at is None:
            raise MasterNotFoundError(f"the sentinels know no primary of {self.address.service} that works")
        if at != self._at:
            self._at = at
            self.moved()
        return at

    def _newest(self, answers: list[Any]) -> list[dict[str, str | int]]:
        """Return what the sentinels with the highest epoch say about the primary, a dict for each sentinel.

        A sentinel that does not watch the service of the address is left out.
        """
        states = [known[self.address.service] for known in answers if self.address.service in known]
        epoch = max((int(state.get("config-epoch", 0)) for state in states), default=0)
        return [state for state in states if int(state.get("config-epoch", 0)) == epoch]

    def _named(self, answers: list[Any]) -> tuple[str, int] | None:
        """Return host and port of the primary that one of the newest `answers` names and calls working, or None."""
        for state in self._newest(answers):
            if self._sentinels.check_master_state(state, self.address.service):
                return str(state["ip"]), int(state["port"])
        return None

    async def replicas(self) -> tuple[int, int]:
        """Return how many replicas the sentinels know, and how many of these replicas are up and follow the primary.

        If the sentinels disagree, each number is the highest that a sentinel gave. Raises redis-py's ConnectionError if
        no sentinel answers.
        """
        found = await self._majority(lambda one: one.sentinel_slaves(self.address.service))
        if not found:
            raise ConnectionError("no sentinel answers")
        return max(map(len, found)), max(sum(map(in_step, replicas)) for replicas in found)

    async def _majority(
        self, ask: Callable[[Any], Awaitable[Any]], enough: Callable[[list[Any]], bool] = bool
    ) -> list[Any]:
        """Ask all sentinels the same question. Return the first answers that are a majority and for which `enough`
        is true. Return every answer if no more arrive.

        `ask` sends the question to one sentinel and returns its answer. `enough` gets the answers so far. It lets a
        majority wait for the other sentinels, for example when one of two that answered cannot reach the primary.
        """
        clients = self._sentinels.sentinels
        asked = [asyncio.ensure_future(ask(one)) for one in clients]
        found: list[Any] = []
        try:
            for answer in asyncio.as_completed(asked):
                with contextlib.suppress(RedisError, OSError, asyncio.TimeoutError):
                    found.append(await answer)
                if len(found) > len(clients) // 2 and enough(found):
                    break
        finally:
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return found

    async def close(self) -> None:
        if self._asking is not None:
            await asyncio.wait({self._asking})
        await self._sentinels.aclose()


def in_step(replica: Any) -> bool:
    """Return True if a sentinel says that a replica is up and follows its primary.

    `replica` is the sentinel's description of this replica.
    """
    away = replica["is_sdown"] or replica["is_odown"] or "disconnected" in str(replica["flags"])
    return not away and replica.get("master-link-status") == "ok"


def of_a_replica(error: Exception) -> bool:
    """Return True if a server refused a write because it is a replica.

    The text of the error is searched, because an error inside a script has no class of its own.
    """
    return "READONLY" in str(error) or type(error).__name__ == "ReadOnlyError"


class _AtThePrimary:
    """A mixin for redis-py's connections: it connects to the primary, and closes when a server was demoted."""

    def __init__(self, *, finder: PrimaryFinder, **options: Any) -> None:
        super().__init__(**options)
        self._finder, self.epoch = finder, finder.epoch

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        mine: Any = self
        if mine.is_connected and self._finder.stale(self):
            await mine.disconnect(nowait=True)
        if not mine.is_connected:
            if not self._finder.fixed:
                mine.host, mine.port = await self._finder.primary()
            self.epoch = self._finder.epoch
        await super().connect_check_health(check_health, retry_socket_connect)  # type: ignore[misc]

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]
        except ResponseError as error:
            if not of_a_replica(error):
                raise
            self._finder.moved()
            mine: Any = self
            await mine.disconnect(nowait=True)
            raise ConnectionError("this server is a replica and takes no writes") from error


class PlainConnection(_AtThePrimary, Connection):
    """A TCP connection."""


class TlsConnection(_AtThePrimary, SSLConnection):
    """A TCP connection with TLS."""


class SocketConnection(_AtThePrimary, UnixDomainSocketConnection):
    """A connection by a unix socket."""


def connection_options(address: Address) -> Mapping[str, Any]:
    """Return the class of the connections to `address`, and the arguments for redis-py's connection pool."""
    options = {**address.options, "finder": PrimaryFinder(address)}
    if address.path:
        return {**options, "connection_class": SocketConnection, "path": address.path}
    kind = TlsConnection if address.tls else PlainConnection
    if address.sentinels:
        return {**options, "connection_class": kind}
    return {**options, "connection_class": kind, "host": address.host, "port": address.port}
