"""Checks at start that the Redis servers can give `durability: replica`, and refuses the start if they cannot.

The module checks that Redis has enough replicas, and that enough of the replicas have one test write on disk.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

import redis
from redis.sentinel import SentinelConnectionPool

from cluster.local.redis_checks import FIRST_CELL_KEYS, silent
from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.primary import in_step
from dispatcher.config.store_settings import StoreSettings
from dispatcher.core.store.replication import Seen
from dispatcher.errors import ConfigError

PROOF_S = 5.0
"""How long to wait for the test write, in seconds.

Replicas that sync each write answer within milliseconds. A replica with `everysec` answers within a second.
"""

STEP_MS = 200


def check_replicas(
    client: redis.Redis, store: StoreSettings, unsafe: bool, *, keys: Keys = FIRST_CELL_KEYS
) -> list[str]:
    """Return warnings about the replicas.

    A test value is written, and enough replicas must have it on disk. If this test fails with `unsafe`, that is only a
    warning, so that queued notifications can be sent while a replica is away. Raises ConfigError if the servers cannot
    give the durability that `store` asks for.
    """
    rule = store.replica_rule()
    if rule is None:
        return []
    try:
        seen = _seen(client)
        refused = rule.refusal(seen)
        if refused is not None:
            raise ConfigError(refused)
        fault = _unproven(client, rule.needed(seen), keys)
    except (redis.RedisError, OSError) as error:
        raise silent(client, error) from None
    if fault is not None and not unsafe:
        raise ConfigError(f"store.durability: replica is not kept here (--unsafe-redis starts all the same): {fault}")
    return [fault] if fault is not None else []


def _seen(client: redis.Redis) -> Seen | None:
    """Return how many replicas the sentinels know, and how many of them are in step.

    If sentinels differ, the highest numbers count. Return None if there are no sentinels or none answers.
    """
    pool = client.connection_pool
    if not isinstance(pool, SentinelConnectionPool):
        return None
    found: list[list[Any]] = []
    for sentinel in pool.sentinel_manager.sentinels:
        with contextlib.suppress(redis.RedisError, OSError):
            found.append(sentinel.sentinel_slaves(pool.service_name))
    if not found:
        return None
    return Seen(max(map(len, found)), max(sum(map(in_step, replicas)) for replicas in found))


def _unproven(client: redis.Redis, needed: int, keys: Keys) -> str | None:
    """Write a test value and wait for the replicas. Return None, or a sentence that says why the test failed.

    The write and the wait use the same connection.
    """
    connection: Any = client.connection_pool.get_connection()

    def ask(*command: Any) -> Any:
        connection.send_command(*command)
        return connection.read_response()

    synced, began_s, mark = 0, time.monotonic(), keys.mark
    try:
        ask("SET", mark, "0")
        while time.monotonic() - began_s < PROOF_S:
            local, synced = ask("WAITAOF", 1, needed, STEP_MS)
            if local >= 1 and synced >= needed:
                return None
    except redis.ResponseError as error:
        if "unknown command" in str(error):
            return "this server has no WAITAOF: needed is Redis 7.2 or newer, or Valkey; WAIT promises memory only"
        return f"WAITAOF is refused: {error}"
    finally:
        client.connection_pool.release(connection)
    return (
        f"{synced} of {needed} replicas had a write on disk within {PROOF_S:g} s: each must run, follow this primary,"
        " and have appendonly yes"
    )
