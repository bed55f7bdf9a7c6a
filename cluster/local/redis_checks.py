"""Checks a Redis before the start, and refuses a Redis that can lose accepted notifications."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from dispatcher.adapters.redis.address import parse
from dispatcher.adapters.redis.keys import Keys
from dispatcher.config.secret_references import resolve
from dispatcher.errors import ConfigError

NEEDED = {
    "appendonly": ("yes", "without it a restart loses everything"),
    "appendfsync": ("always", "everysec acknowledges what a power cut loses"),
    "no-appendfsync-on-rewrite": ("no", "yes turns always into never during rewrites"),
    "maxmemory-policy": ("noeviction", "any other deletes queued work when memory is short"),
}


FIRST_CELL_KEYS = Keys()

PROBE = """
redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000)
local found = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
return found
"""
"""A script that writes ARGV[1] to KEYS[1], reads it back and returns it. It deletes the key again.

KEYS[1] is a key of ours that nothing else uses.
"""


class SilentRedisError(ConfigError):
    """No Redis answers at an address that may be right. The message says what each server answers."""


def connect(url: str, where: str = "--redis-url") -> redis.Redis:
    """Return a client for a Redis whose URL is given by the option or setting `where`. It may be a secret reference.

    Raises ConfigError if the URL is wrong. The message shows no part of the URL: with a `#` in the password, the text
    that looks like the port is a part of the password.
    """
    try:
        address = parse(resolve(url))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    options: Mapping[str, Any] = {**address.options, "decode_responses": True}
    if address.path:
        return redis.Redis(unix_socket_path=address.path, **options)
    if not address.sentinels:
        return redis.Redis(host=address.host, port=address.port, ssl=address.tls, **options)
    once: Mapping[str, Any] = {"ssl": address.tls, "socket_connect_timeout": 2.0, "retry": Retry(NoBackoff(), 0)}
    asked = {**address.sentinel_options, **once, "socket_timeout": 2.0, "decode_responses": True}
    sentinels: Any = Sentinel(address.sentinels, sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
    found: redis.Redis = sentinels.master_for(address.service, **{**options, **once})
    return found


def faults(client: redis.Redis, stated: bool = False) -> list[str]:
    """Return all settings of this Redis that are unsafe: the name, the value, the needed value and the reason.

    `stated` means that the operator guarantees the settings of a server that does not show them.
    """
    found = []
    version = str(client.info("server")["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < (6, 2):
        found.append(f"version is {version}, needed is 6.2 or newer")
    try:
        settings = client.config_get("*")
    except redis.ResponseError as error:  # hosted ones often forbid CONFIG
        unread = f"settings cannot be read ({error}), needed is CONFIG GET, or store.durability_stated"
        return found if stated else [*found, unread]
    for name, (needed, why) in NEEDED.items():
        value = settings.get(name)
        if value != needed:
            found.append(f"{name} is {value}, needed is {needed}: {why}")
    if settings.get("maxmemory") in (None, "0"):
        found.append("maxmemory is 0 (no limit), needed is a limit: head-room cannot be kept without one")
    return found


def refusal(client: redis.Redis, keys: Keys) -> str | None:
    """Write to a key of ours with a script, as the service does. Return None, or a sentence that says why this failed.

    A full Redis is no failure, because delivering messages makes room again.
    """
    token = uuid.uuid4().hex
    try:
        if client.eval(PROBE, 1, f"{keys.prefix}probe:{token}", token) != token:
            return "this Redis does not read back what a script has written"
    except (redis.exceptions.ReadOnlyError, redis.exceptions.ResponseError) as error:
        text = " ".join(str(error).split())
        if "OOM" in text or isinstance(error, redis.exceptions.OutOfMemoryError):
            return None  # a full one still lets draining work, which is how it gets room again
        if isinstance(error, redis.exceptions.ReadOnlyError) or "READONLY" in text or "read only" in text:
            return "this Redis is a read-only replica: give the address of its primary"
        if any(code in text for code in ("MOVED", "ASK ", "CLUSTERDOWN", "cluster")):
            return "this Redis is a node of a Redis Cluster, which is not supported: give a single server"
        return f"this Redis refuses a script that writes to a key of ours, {keys.prefix}*: {text}"
    return None


def _is_cluster(client: redis.Redis) -> bool:
    """Return True for a node of a Redis Cluster. Our client knows one node only and cannot follow slots to
    another node.
    """
    return int(client.info("cluster").get("cluster_enabled", 0)) == 1


def silent(client: redis.Redis, error: Exception) -> ConfigError:
    """Return the error for a Redis that does not answer. It is a SilentRedisError, unless a password or certificate is
    wrong.
    """
    wrong = isinstance(error, redis.AuthenticationError) or "CERTIFICATE_VERIFY_FAILED" in str(error)
    return (ConfigError if wrong else SilentRedisError)(silence(client, error))


def silence(client: redis.Redis, error: Exception) -> str:
    """Return a sentence that says why no Redis answers. If the URL names sentinels, it says what each sentinel
    answers.
    """
    pool = client.connection_pool
    text = " ".join(str(error).split())
    if isinstance(error, redis.AuthenticationError):
        known = isinstance(pool, SentinelConnectionPool)
        return f"user or password of the Redis{' at ' + _primary(pool) if known else ''} is wrong: {text}"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        why = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0] or text
        return f"the certificate of this Redis is not trusted: {why}; ssl_ca_certs names the file of its authority"
    if not isinstance(pool, SentinelConnectionPool):
        return f"no Redis answers: {text}"
    answers = [_answer(one, pool.service_name) for one in pool.sentinel_manager.sentinels]
    if all(answers):
        return f"no sentinel names a primary: {'; '.join(answers)}"
    return f"the primary that the sentinels name does not answer: {text}"


def _primary(pool: Any) -> str:
    host, port = pool.sentinel_manager.discover_master(pool.service_name)
    return f"{host}:{port}"


def _answer(sentinel: redis.Redis, service: str) -> str:
    """Return the problem that this sentinel reports or has, or an empty text if it names a primary that works."""
    options = sentinel.connection_pool.connection_kwargs
    at = f"{options['host']}:{options['port']}"
    try:
        known: Mapping[str, Any] = sentinel.sentinel_masters()  # type: ignore[assignment]  # redis-py types both kinds
    except redis.AuthenticationError:
        return f"{at} asks for a password: give sentinel_password, and sentinel_username if it has users"
    except redis.ResponseError as error:
        text = str(error)
        return f"{at} is no sentinel" if "unknown command" in text else f"{at} refuses: {text}"
    except (redis.RedisError, OSError) as error:
        text = " ".join(str(error).split())
        return f"{at} does not answer: {text}"
    if service not in known:
        return f"{at} watches no service {service}, only {', '.join(sorted(known)) or 'none'}"
    state = known[service]
    return f"{at} says that the primary is down" if state["is_sdown"] or state["is_odown"] else ""


def check(client: redis.Redis, unsafe: bool, *, stated: bool = False, keys: Keys = FIRST_CELL_KEYS) -> list[str]:
    """Return warnings about this Redis. With `unsafe`, unsafe settings are warnings instead of errors.

    Raises ConfigError if no Redis answers, or if its settings are unsafe and `unsafe` is False. A Redis that cannot do
    the work at all is always refused: a node of a cluster, a read-only replica, or a user without EVAL.
    """
    try:
        if _is_cluster(client):
            raise ConfigError("this Redis is a node of a Redis Cluster, which is not supported: give a single server")
        refused = refusal(client, keys)
        if refused is not None:
            raise ConfigError(refused)
        found = faults(client, stated)
    except (redis.RedisError, OSError) as error:
        raise silent(client, error) from None
    if found and not unsafe:
        raise ConfigError("this Redis can lose accepted notifications (--unsafe-redis overrides): " + "; ".join(found))
    return found
