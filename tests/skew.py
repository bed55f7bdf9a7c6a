"""Makes the store's clock wrong for chosen processes, without libfaketime and without another server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import redis.asyncio

from dispatcher.adapters.redis.script_calls import Script

SKEW = "{nd:0}:skew"
"""The Redis key with the number of seconds by which skewed processes see the store's clock wrong."""

_PROLOGUE = (
    "local function store_time() local t = redis.call('TIME')"
    f" return {{t[1] + tonumber(redis.call('GET', '{SKEW}') or '0'), tonumber(t[2])}} end\n"
)


def skewed(honest: Callable[[str], Script]) -> Callable[[str], Script]:
    """Return a function that loads scripts as `honest` does. The scripts read the store's time with the skew added."""

    def script(name: str) -> Script:
        body = _PROLOGUE + honest(name).body.replace("redis.call('TIME')", "store_time()")
        return Script(hashlib.sha1(body.encode()).hexdigest(), body)

    return script


def time(connection: redis.asyncio.Redis) -> Any:
    """Return the store's time with the skew. This function replaces the Redis client's own method `time`."""
    return connection.execute_command("EVAL", _PROLOGUE + "return store_time()", 0)
