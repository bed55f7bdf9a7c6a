"""Loads the Lua scripts from their files, and runs many script calls in one round trip."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from dispatcher.adapters.redis.address import parse
from dispatcher.adapters.redis.connection import SharedConnection
from dispatcher.adapters.redis.primary import PrimaryFinder, connection_options
from dispatcher.errors import RefusedError, UnavailableError

_FOLDER = Path(__file__).parent / "scripts"
T = TypeVar("T")
_PROLOGUES = {
    "reopen": ("_delay",),
    "accept": ("_caps", "_cells", "_enqueue", "_rate"),
    "charge": ("_caps", "_rate"),
    "promote": ("_enqueue",),
    "redrive": ("_enqueue",),
    "move": ("_fence", "_enqueue"),
    "settle": ("_fence", "_finish"),
    "withdraw": ("_finish",),
    "discard": ("_finish",),
    "begin": ("_finish",),
    "retry": ("_delay", "_fence"),
    "hold": ("_delay", "_fence"),
    "claim": ("_record", "_turns"),
    "backlog": ("_oldest",),
    "depths": ("_oldest",),
    "take": ("_delay", "_record"),
    "keep_time": ("_delay",),
    "postpone": ("_delay",),
    "known": ("_cells",),
    "join": ("_cells",),
} | dict.fromkeys(("dead", "drop"), ("_fence",))
UNAVAILABLE = (RedisError, OSError, asyncio.TimeoutError)
"""The errors that a Redis without an answer causes. After such an error, a change is maybe done."""


class Script(NamedTuple):
    sha: str
    body: str


class Call(NamedTuple):
    """One call of a script, with its keys and arguments."""

    script: str
    keys: Sequence[str]
    args: Sequence[Any]


@cache
def script(name: str) -> Script:
    body = "".join((_FOLDER / f"{part}.lua").read_text() for part in (*_PROLOGUES.get(name, ()), name))
    return Script(hashlib.sha1(body.encode()).hexdigest(), body)


class Client(redis.Redis):
    """redis-py's client for single commands, with one additional connection that all scripts share."""

    shared: SharedConnection
    finder: PrimaryFinder

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await self.shared.close()
        await super().aclose(close_connection_pool)
        await self.finder.close()


def client(url: str, *, timeout_s: float = 2.0, connections_max: int = 32, queues_s: float | None = None) -> Client:
    """Return a client for the Redis at `url`.

    The client never repeats a command, so nothing is claimed or accepted twice.

    All scripts share one connection. At most `connections_max` single commands run at once. When this limit is reached,
    the next single command fails at once. With `queues_s`, it waits up to that many seconds instead. `timeout_s` limits
    the time of a command in seconds. Raises `ConfigError` if the URL cannot be read.
    """
    place = connection_options(parse(url))
    options: Mapping[str, Any] = {
        **place,
        "decode_responses": True,
        "protocol": 2,  # the shapes of replies below are RESP2's
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "max_connections": connections_max,
        "health_check_interval": 0,
    }
    if queues_s is None:
        pool = redis.ConnectionPool(**options)
    else:
        pool = redis.BlockingConnectionPool(timeout=queues_s, **options)
    made = Client(connection_pool=pool)
    made.auto_close_connection_pool = True
    made.finder = place["finder"]
    made.shared = SharedConnection(pool.make_connection, timeout_s, made.finder.stale)
    return made


async def run(connection: Client, calls: Sequence[Call], *, last_again: bool = False) -> list[Any]:
    """Run `calls` in one round trip. Return their replies in order. If a script fails, its reply is the exception.

    A Redis that restarted has forgotten the scripts and refuses calls with NOSCRIPT. Then the scripts are loaded, and
    only the refused calls are sent again. With `last_again`, the last call is sent again too, even if Redis has
    answered it. So the last call is always the last to run. Raises `UnavailableError` if the connection broke. Each
    call is then maybe done.
    """
    try:
        replies = await _send(connection, calls)
        missing = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            if last_again and missing[-1] != len(calls) - 1:
                missing.append(len(calls) - 1)
            for name in {calls[n].script for n in missing}:
                await connection.script_load(script(name).body)
            again = await _send(connection, [calls[n] for n in missing])
            for n, reply in zip(missing, again, strict=True):
                replies[n] = reply
        return replies
    except UNAVAILABLE as error:
        raise UnavailableError(f"redis: {type(error).__name__}") from error


async def run_one(connection: Client, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """Run one script and return its reply.

    Raises `RefusedError` for a damaged key, `UnavailableError` for other errors.
    """
    (reply,) = await run(connection, [Call(name, keys, args)])
    return answered(reply, name)


async def ask(connection: Client, *command: str | int) -> Any:
    """Send a command on the connection that the scripts share. Return its reply as the protocol gives it.

    This function costs much less CPU than redis-py's own methods. The difference matters for commands that every
    process sends all the time. Raises `RefusedError` for a damaged key and `UnavailableError` for any other error.
    """
    try:
        (reply,) = await connection.shared.ask([command])
    except UNAVAILABLE as error:
        raise UnavailableError(f"redis: {type(error).__name__}") from error
    return answered(reply, str(command[0]))


async def reached(answer: Awaitable[T]) -> T:
    """Return the answer to one of redis-py's own commands. Raises `UnavailableError` if Redis does not answer."""
    try:
        return await answer
    except UNAVAILABLE as error:
        raise UnavailableError(f"redis: {type(error).__name__}") from error


OF_THE_STORE = ("OOM", "MISCONF", "READONLY", "LOADING", "NOREPLICAS", "MASTERDOWN", "BUSY", "NOSCRIPT")
"""The codes of Redis errors that concern the whole store, not the keys of a command.

A script's error may contain them.
"""


def of_a_key(reply: Any) -> bool:
    """Return True if `reply` is an error that concerns only the keys of the command, such as a key of the wrong type.

    Other keys are not affected, and repeating the command would fail again. An error of the whole store is recognised
    by its class in redis-py, or by one of the codes in `OF_THE_STORE` in its text.
    """
    return type(reply) is ResponseError and not any(code in str(reply) for code in OF_THE_STORE)


def answered(reply: Any, asked: str) -> Any:
    """Return `reply` if it is no exception.

    Otherwise raise `RefusedError` or `UnavailableError` with `asked` in the text.
    """
    if not isinstance(reply, Exception):
        return reply
    raise (RefusedError if of_a_key(reply) else UnavailableError)(f"redis: {asked}: {reply}") from reply


async def _send(connection: Client, calls: Sequence[Call]) -> list[Any]:
    return await connection.shared.ask(
        [("EVALSHA", script(name).sha, len(keys), *keys, *args) for name, keys, args in calls]
    )
